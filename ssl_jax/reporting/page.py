"""The bones of every page: one HTML file that needs nothing else, neither files nor a network."""

import base64
import html
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssl_jax.reporting.stylesheet import CSS

Section = tuple[str, str]


class Figure(NamedTuple):
  """A picture of the report.

  Attributes:
    heading: of its section, unique in the report.
    caption: what is to be seen, in a sentence or two.
    image: the file's bytes.
    mime: the media type of `image`.
    photographic: True keeps the colors in a dark page; a diagram's lightness is turned over.
    half: True makes two of them stand side by side where the screen is wide enough.
  """

  heading: str
  caption: str
  image: bytes
  mime: str = 'image/png'
  photographic: bool = False
  half: bool = False


def page(title: str, sections: Sequence[Section], parts: str = '', links: str = '') -> str:
  """The page of sections, each a heading and HTML; `parts` and `links` are put at the ends."""
  links = navigation(sections) + links
  body = body_of(sections)
  written = time.strftime('%Y-%m-%d %H:%M:%S %Z')
  # The policy makes the browser itself refuse whatever would leave this page.
  return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{text(title)}</title>
<style>{CSS}</style>
</head>
<body>
<header><h1>{text(title)}</h1><nav>{links}</nav></header>
<main>
{body}
{parts}</main>
<footer>Written by ssl_jax on {text(written)}.</footer>
</body>
</html>
"""


def navigation(sections: Sequence[Section], prefix: str = '') -> str:
  """Links to the sections."""
  return ''.join(
    f'<a href="#{prefix}{end}">{text(name)}</a>'
    for (name, _), end in zip(sections, anchors(sections), strict=True)
  )


def body_of(sections: Sequence[Section], prefix: str = '') -> str:
  """The sections themselves."""
  return '\n'.join(
    f'<section id="{prefix}{end}">{content}</section>'
    for (_, content), end in zip(sections, anchors(sections), strict=True)
  )


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


def anchors(sections: Sequence[Section]) -> list[str]:
  """The headings as ends of addresses, numbered where two would be the same."""
  found: list[str] = []
  seen: Counter[str] = Counter()
  for heading, _ in sections:
    end = re.sub(r'[^a-z0-9]+', '-', heading.lower()).strip('-') or 'section'
    while end in found:
      seen[end] += 1
      end = f'{end}-{seen[end] + 1}'
    found.append(end)
  return found


def text(value: Any) -> str:
  """Any value, escaped; bytes of a file name that are no UTF-8 become question marks."""
  return html.escape(str(value).encode(errors='replace').decode(), quote=True)
