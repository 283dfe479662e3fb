"""Pages of HTML that need nothing beside them: pictures are in the file, and nothing is fetched or executed."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jinja2 import Environment
from PIL import Image

from smat.domains import MAX_PIXELS, GreyRange, load_image
from smat.errors import DataError

SIDE = 160
"""Longer side of a thumbnail, in pixels."""


@dataclass(frozen=True)
class Picture:
    """A picture and what is said of it.

    Attributes:
        source: the picture, as a `data:` address; None: there is none.
        name: what it is called; the end of it is shown, and all of it under the pointer.
        lines: texts below it.
        share: length of a bar below it, in 0..1; None: no bar.
        mark: how it stands out.
    """

    source: str | None
    name: str
    lines: Sequence[str] = ()
    share: float | None = None
    mark: Literal["", "wrong", "right"] = ""


@dataclass(frozen=True)
class Card:
    """Pictures that belong together, and one text of them all."""

    pictures: Sequence[Picture]
    text: str = ""


@dataclass(frozen=True)
class Drawing:
    """A figure with its caption.

    Attributes:
        source: the figure, as a `data:` address.
        alt: what it shows, for those who do not see it.
        caption: how to read it.
        wide: whether it takes the page's width.
    """

    source: str
    alt: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of texts and numbers, folded until it is asked for.

    Attributes:
        title: what it has.
        columns: heads of the columns; the first is that of the rows' names.
        rows: name and cells of each row.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Counts:
    """A table of counts, with the diagonal in another colour.

    Attributes:
        title: heading.
        note: text below it.
        corner: what rows and columns are.
        columns: heads of the columns.
        rows: head of each row and its counts.
    """

    title: str
    note: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[int]]]


@dataclass(frozen=True)
class Section:
    """What stands under a heading, in this order.

    Attributes:
        title: the heading.
        note: text below it.
        cards: pictures; they come last.
        texts: paragraphs.
        drawings: figures.
        counts: tables of counts.
        grids: other tables.
    """

    title: str
    note: str
    cards: Sequence[Card] = ()
    texts: Sequence[str] = ()
    drawings: Sequence[Drawing] = ()
    counts: Sequence[Counts] = ()
    grids: Sequence[Grid] = ()


def page(
    title: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], tables: Sequence[Counts] = ()
) -> str:
    """A page as HTML; every text in it is escaped.

    Args:
        title: heading.
        facts: what is known in short, by name, below the heading.
        sections: what is shown.
        tables: tables, above the sections.
    """
    return _PAGE.render(title=title, facts=facts, sections=sections, tables=tables)


def thumbnail(file: Path, grey_range: GreyRange | None = None, max_pixels: int = MAX_PIXELS) -> str | None:
    """An image file as a small picture; None if it cannot be read (any more)."""
    try:
        image = load_image(file, SIDE, range=grey_range, max_pixels=max_pixels)
    except DataError:
        return None
    return jpeg_of(image)


def jpeg_of(image: Image.Image, side: int = SIDE) -> str:
    """A picture in RGB, made as small as a thumbnail, as an address that holds it."""
    image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, "JPEG", quality=80)
    return jpeg_address(content.getvalue())


def jpeg_address(content: bytes) -> str:
    """A JPEG as an address that holds it."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def svg_address(content: bytes) -> str:
    """A drawing in SVG as an address that holds it."""
    return f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}"


_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
{% macro counted(table, level) %}
<h{{ level }}>{{ table.title }}</h{{ level }}>
<p>{{ table.note }}</p>
<div class="scroll"><table>
<thead><tr><th>{{ table.corner }}</th>
{% for column in table.columns %}<th><span>{{ column }}</span></th>{% endfor %}</tr></thead>
<tbody>
{% for name, counts in table.rows %}
{% set most = [counts | sum, 1] | max %}
<tr><th>{{ name }}</th>
{% for count in counts %}
{% set colour = "22 163 74" if table.columns[loop.index0] == name else "220 38 38" %}
<td style="background: rgb({{ colour }} / {{ "%.2f" | format(0.6 * count / most) }})">{{ count or "" }}</td>
{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div>
{% endmacro %}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; --ink: light-dark(#18181b, #f4f4f5); --soft: light-dark(#71717a, #a1a1aa);
  --line: light-dark(#e4e4e7, #3f3f46); --paper: light-dark(#fff, #18181b); --tile: light-dark(#f4f4f5, #27272a);
  --bar: #2563eb; --wrong: light-dark(#dc2626, #f87171); --right: light-dark(#15803d, #4ade80) }
body { margin: 0 auto; padding: 2rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; overflow-wrap: anywhere }
h1 { margin: 0 0 1rem; font-size: 1.7rem } h2 { margin: 2.2rem 0 .2rem; font-size: 1.15rem }
h3 { margin: 1.2rem 0 .2rem; font-size: 1rem }
p { margin: .2rem 0 .8rem; color: var(--soft) }
dl { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 0 } dt { color: var(--soft); font-size: .85rem }
dd { margin: 0; font-weight: 600 }
nav { margin-top: 1.2rem; display: flex; flex-wrap: wrap; gap: .4rem }
nav a { padding: .15rem .6rem; border: 1px solid var(--line); border-radius: 1rem; color: inherit;
  text-decoration: none }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; align-items: flex-start }
.card { padding: .4rem; border: 1px solid var(--line); border-radius: .5rem }
.card p { margin: .3rem 0 0; max-width: 17rem; color: inherit; font-size: .85rem }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem }
figure { margin: 0 } .pictures figure { width: 8.5rem; font-size: .8rem } figcaption div { color: var(--soft) }
.picture { height: 8.5rem; display: grid; place-items: center; background: var(--tile); border-radius: .3rem;
  overflow: hidden; color: var(--soft) }
.picture img { width: 8.5rem; height: 8.5rem; object-fit: contain }
.name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; color: var(--ink) !important }
.wrong .picture { outline: 3px solid var(--wrong) } .wrong .last { color: var(--wrong) }
.right .picture { outline: 2px solid var(--right) }
.bar { height: 4px; margin: .35rem 0; background: var(--line); border-radius: 2px }
.bar i { display: block; height: 100%; background: var(--bar); border-radius: 2px }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .85rem; overflow-wrap: normal }
td, th { padding: .25rem .5rem; border: 1px solid var(--line); text-align: right; font-weight: normal }
thead th { vertical-align: bottom; max-height: 12rem }
thead th span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 12rem }
tbody th, thead th:first-child { text-align: left; color: var(--soft) }
.texts { max-width: 46rem } .texts p { color: inherit }
.drawings { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }
.drawing { width: 26rem; max-width: 100%; break-inside: avoid; font-size: .85rem } .wide { width: 54rem }
.drawing img { display: block; width: 100%; background: #fff; border-radius: .3rem }
.drawing figcaption { margin-top: .4rem; color: var(--soft) }
details { margin: .8rem 0 } summary { cursor: pointer }
@media print {
  :root { color-scheme: light } body { max-width: none; padding: 0 } nav { display: none }
  h2 { break-after: avoid } .card, tr { break-inside: avoid } .scroll { overflow: visible }
  .drawing { width: calc(50% - .5rem) } .wide { width: 100% }
}
</style>
</head>
<body>
<h1>{{ title }}</h1>
<dl>
{% for name, value in facts %}
<div><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>
<nav>
{% for section in sections %}
<a href="#s{{ loop.index }}">{{ section.title }}</a>
{% endfor %}
</nav>
{% for table in tables %}
{{ counted(table, 2) }}
{% endfor %}
{% for section in sections %}
<section id="s{{ loop.index }}">
<h2>{{ section.title }}</h2>
{% if section.note %}<p>{{ section.note }}</p>{% endif %}
{% if section.texts %}<div class="texts">{% for text in section.texts %}<p>{{ text }}</p>{% endfor %}</div>{% endif %}
{% if section.drawings %}
<div class="drawings">
{% for drawing in section.drawings %}
<figure class="drawing{% if drawing.wide %} wide{% endif %}"><img src="{{ drawing.source }}" alt="{{ drawing.alt }}">
<figcaption>{{ drawing.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
{% for table in section.counts %}
{{ counted(table, 3) }}
{% endfor %}
{% for grid in section.grids %}
<details><summary>{{ grid.title }}</summary>
<div class="scroll"><table>
<thead><tr>{% for column in grid.columns %}<th>{{ column }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in grid.rows %}
<tr><th>{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table></div></details>
{% endfor %}
{% if section.cards %}
<div class="cards">
{% for card in section.cards %}
<div class="card"><div class="pictures">
{% for picture in card.pictures %}
<figure class="{{ picture.mark }}">
<div class="picture">
{% if picture.source %}<img src="{{ picture.source }}" alt="">{% else %}no picture{% endif %}</div>
<figcaption><div class="name" title="{{ picture.name }}">{{ picture.name.rpartition("/")[2] }}</div>
{% if picture.share is not none %}
<div class="bar"><i style="width: {{ "%.0f" | format(100 * picture.share) }}%"></i></div>
{% endif %}
{% for line in picture.lines %}<div{% if loop.last %} class="last"{% endif %}>{{ line }}</div>{% endfor %}
</figcaption>
</figure>
{% endfor %}
</div>
{% if card.text %}<p>{{ card.text }}</p>{% endif %}
</div>
{% endfor %}
</div>
{% endif %}
</section>
{% endfor %}
</body>
</html>
""")
