"""A page of headings, tables and pictures as one HTML file that needs no other."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from training.evaluate.drawing import Picture

__all__ = ["Cell", "Part", "Table", "page"]

_STYLE = """
:root{color-scheme:light;--ink:#1f2937;--faint:#6b7280;--line:#e5e7eb;--good:#047857;--bad:#b91c1c}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;color:var(--ink);background:#fff;
 font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .4rem;padding-top:.6rem;border-top:1px solid var(--line)}
p,li{max-width:46rem}
ul{padding-left:1.1rem}
.scroll{overflow-x:auto;margin:.6rem 0 1rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.92rem}
caption{text-align:left;color:var(--faint);font-size:.85rem;padding:.2rem 0}
th,td{padding:.35rem .7rem;text-align:right;
 border-bottom:1px solid var(--line);vertical-align:top;white-space:nowrap}
th{font-weight:600}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff;padding-left:0}
tbody tr.first td{background:#f3f6fb}
tbody tr.first td:first-child{padding-left:.4rem}
small{display:block;color:var(--faint);font-size:.78rem}
.good{color:var(--good)}.bad{color:var(--bad)}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,24rem),1fr));gap:1rem}
figure{margin:0}
figure img{width:100%;height:auto;display:block}
figcaption{color:var(--faint);font-size:.82rem}
footer{margin-top:2.5rem;border-top:1px solid var(--line);color:var(--faint);font-size:.85rem}
@media(max-width:30rem){body{padding:.8rem;font-size:15px}h1{font-size:1.35rem}th,td{padding:.3rem .45rem}}
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Args:
        text: What it says.
        small: What stands below, in small.
        tone: ``good``, ``bad`` or nothing.
    """

    text: str
    small: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column holds names and whose others hold numbers.

    Args:
        columns: Headings.
        rows: Cells.
        caption: What it shows.
        first: Whether the first row is the one that others are compared with.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    first: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """A heading and what is below it, in this order.

    Args:
        title: The heading.
        lines: Sentences; several become a list.
        tables: Tables.
        pictures: Pictures.
    """

    title: str
    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def page(title: str, parts: Iterable[Part], footer: str) -> str:
    """Return the page."""
    body = "".join(_part(part) for part in parts)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1>{body}<footer><p>{escape(footer)}</p></footer></body></html>\n"
    )


def _part(part: Part) -> str:
    heading = f"<h2>{escape(part.title)}</h2>" if part.title else ""
    if len(part.lines) > 1:
        text = "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in part.lines) + "</ul>"
    else:
        text = "".join(f"<p>{escape(line)}</p>" for line in part.lines)
    pictures = "".join(map(_picture, part.pictures))
    shown = f'<div class="pictures">{pictures}</div>' if pictures else ""
    return f"<section>{heading}{text}{''.join(map(_table, part.tables))}{shown}</section>"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    mark = ' class="first"' if table.first else ""
    rows = "".join(
        f"<tr{mark if not i else ''}>{''.join(map(_cell, row))}</tr>" for i, row in enumerate(table.rows)
    )
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    inner = f"{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
    return f'<div class="scroll"><table>{inner}</table></div>'


def _cell(cell: Cell) -> str:
    tone = f' class="{cell.tone}"' if cell.tone else ""
    small = f"<small>{escape(cell.small)}</small>" if cell.small else ""
    return f"<td{tone}>{escape(cell.text)}{small}</td>"


def _picture(picture: Picture) -> str:
    data = b64encode(picture.png).decode()
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
