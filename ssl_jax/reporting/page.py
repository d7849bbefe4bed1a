"""Self-contained HTML pages: pictures are embedded, nothing is loaded from files or a network."""

import base64
import html
import re
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ssl_jax.reporting.stylesheet import CSS

Section = tuple[str, str]
_CONTROL = re.compile(r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]')
# Written into every page. Pages without it are of versions that kept pictures in the page alone, so
# that they cannot be rendered again.
GENERATOR = 'ssl_jax.reporting 2'


class Figure(NamedTuple):
  """A PNG with a heading and a caption.

  Attributes:
    heading: of its section, unique in the report.
    caption: what it shows, in a sentence or two.
    image: the file's bytes.
    mime: the media type of `image`.
    photographic: True keeps the colors in a dark page; a diagram's lightness is inverted.
    half: True puts two of them side by side where the screen is wide enough.
  """

  heading: str
  caption: str
  image: bytes
  mime: str = 'image/png'
  photographic: bool = False
  half: bool = False


def page(title: str, *groups: Sequence[Section]) -> str:
  """The page of groups of sections, each section a heading and its HTML.

  The links to the sections of a group are a line of the navigation.
  """
  ids = iter(anchors([heading for group in groups for heading, _ in group]))
  navigation, sections = [], []
  for group in groups:
    links = []
    for heading, content in group:
      name = next(ids)
      links.append(f'<a href="#{name}">{text(heading)}</a>')
      sections.append(f'<section id="{name}">{content}</section>')
    navigation += [f'<div>{"".join(links)}</div>'] if links else []
  body = '\n'.join(sections)
  written = time.strftime('%Y-%m-%d %H:%M:%S %Z')
  # The policy makes the browser itself refuse whatever would leave this page.
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="{GENERATOR}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header><h1>{text(title)}</h1><nav>{''.join(navigation)}</nav></header>
<main>
{body}
</main>
<footer>Written by ssl_jax on {text(written)}.</footer>
</body>
</html>
"""


def figure_html(figure: Figure) -> str:
  """A picture with its heading and caption."""
  data = base64.b64encode(figure.image).decode()
  kind = 'photo' if figure.photographic else 'plot'
  half = ' class="half"' if figure.half else ''
  return (
    f'<figure{half}><h2>{text(figure.heading)}</h2><figcaption>{text(figure.caption)}</figcaption>'
    f'<div class="frame {kind}"><img alt="{text(figure.heading)}" '
    f'src="data:{text(figure.mime)};base64,{data}"></div></figure>'
  )


def anchors(headings: Iterable[str]) -> list[str]:
  """The headings as HTML ids, in lower case, numbered where two would be the same."""
  found: list[str] = []
  seen: Counter[str] = Counter()
  for heading in headings:
    name = re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-') or 'section'
    while name in found:
      seen[name] += 1
      name = f'{name}-{seen[name] + 1}'
    found.append(name)
  return found


def text(value: Any) -> str:
  """Any value, escaped; bytes of a file name that are no UTF-8, and control characters that HTML
  does not allow, become question marks."""
  words = _CONTROL.sub('?', str(value).encode(errors='replace').decode())
  return html.escape(words, quote=True)
