"""The style sheet of all pages: light and dark, for narrow and wide screens."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16191f; --faint: #5b6472; --line: #e2e5ea;
  --accent: #0072b2; --track: #e8ebf0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101216; --card: #191c22; --ink: #eceef2; --faint: #a0a8b5; --line: #2c313a;
    --accent: #56b4e9; --track: #2c313a;
  }
  /* Hues stay, lightness turns over, black is the card's color; photographs do not change. */
  .plot img { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans',
    sans-serif;
}
main, header { max-width: 1160px; margin: 0 auto; padding: 0 24px; }
main { display: grid; grid-template-columns: 1fr 1fr; gap: 20px; padding-top: 20px;
  padding-bottom: 20px; }
header { padding-top: 40px; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -0.02em; margin: 0 0 4px; }
h2 { font-size: 1.2rem; letter-spacing: -0.01em; margin: 0 0 4px; }
p { margin: 0; }
.lead, figcaption, .note { color: var(--faint); }
nav { padding: 14px 0 0; font-size: 0.92rem; }
nav div { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-bottom: 4px; }
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 22px 24px; scroll-margin-top: 12px; grid-column: 1 / -1; min-width: 0;
}
section:has(> .half) { grid-column: auto; }
.scores { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); }
.score { border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.score b { display: block; font-size: 2.1rem; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.score.first { border-color: var(--accent); }
.score.first b { color: var(--accent); }
.score span { font-size: 0.95rem; }
.score small { display: block; color: var(--faint); min-height: 1.5em; }
.track { height: 6px; border-radius: 3px; background: var(--track); margin: 8px 0 6px;
  overflow: hidden; }
.track i { display: block; height: 100%; border-radius: 3px; background: var(--faint); }
.first .track i { background: var(--accent); }
dl { display: grid; gap: 12px 28px; margin: 0;
  grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); }
dt { color: var(--faint); font-size: 0.88rem; }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.scores + dl, .lead + dl { margin-top: 20px; }
h2 + dl { margin-top: 12px; }
figure { margin: 0; }
figcaption { margin-bottom: 14px; max-width: 80ch; }
.frame { overflow-x: auto; }
.frame img { display: block; width: 100%; height: auto; min-width: 620px; }
.photo img { border-radius: 4px; background: #ffffff; padding: 8px; min-width: 480px; }
.half .frame img { min-width: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line);
  font-weight: 400; vertical-align: middle; }
tr:last-child > * { border-bottom: 0; }
td.number { text-align: right; white-space: nowrap; width: 1%; padding-right: 20px; }
th.number { text-align: right; padding-right: 20px; }
td.words { min-width: 8em; overflow-wrap: anywhere; vertical-align: top; }
.strong > * { font-weight: 650; }
td.best { font-weight: 650; color: var(--accent); }
th[scope=row] { white-space: nowrap; width: 1%; padding-right: 28px; }
td .track { margin: 0; height: 10px; }
td .track i { background: var(--accent); }
pre { overflow-x: auto; background: var(--page); border: 1px solid var(--line); border-radius: 8px;
  padding: 14px 16px; margin: 12px 0 0; font: 13px/1.5 ui-monospace, 'SF Mono', Menlo, Consolas,
  'DejaVu Sans Mono', monospace; }
summary { cursor: pointer; }
summary h2 { display: inline; }
footer { max-width: 1160px; margin: 0 auto; padding: 4px 24px 40px; color: var(--faint);
  font-size: 0.88rem; }
@media (max-width: 600px) {
  main, header, footer { padding-left: 14px; padding-right: 14px; }
  main { gap: 14px; padding-top: 14px; }
  section { padding: 16px; border-radius: 10px; }
  th[scope=row] { white-space: normal; min-width: 7em; padding-right: 12px; position: sticky;
    left: 0; background: var(--card); }
  h1 { font-size: 1.5rem; }
  dl { grid-template-columns: 1fr 1fr; }
}
@media (max-width: 900px) { section:has(> .half) { grid-column: 1 / -1; } }
@media print { section { break-inside: avoid; } nav { display: none; } }
"""
