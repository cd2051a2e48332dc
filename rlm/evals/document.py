"""A report as Markdown and as one HTML page. All texts are data: models and tasks wrote some of them."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&$!])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b;
  background: #fff }
h1, h2, h3 { line-height: 1.2 } h2 { margin-top: 2.5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
th { border-bottom: 2px solid #888 } td { white-space: nowrap } .text { text-align: left; white-space: normal }
img { max-width: 100%; height: auto }
"""


@dataclass(frozen=True, slots=True)
class Table:
    """`left`: how many columns, from the left, hold texts."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True, slots=True)
class Image:
    """A picture; `path` is relative to the folder of the report."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    parts: Sequence[str | Table | Image] = field(default_factory=tuple)
    level: int = 2


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    return "\n\n".join([f"# {plain_md(title)}", *(piece for each in sections for piece in _md(each))]) + "\n"


def _md(section: Section) -> Iterator[str]:
    yield f"{'#' * section.level} {plain_md(section.title)}"
    for part in section.parts:
        if isinstance(part, Table):
            rules = ["---" if number < part.left else "---:" for number in range(len(part.head))]
            rows = [[*map(plain_md, part.head)], rules, *([*map(plain_md, row)] for row in part.rows)]
            yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
        elif isinstance(part, Image):
            yield f"![{plain_md(part.text)}]({part.path})"
        else:
            yield plain_md(part)


def plain_md(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", one_line(text))


def one_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def to_html(title: str, sections: Sequence[Section], *, folder: Path) -> str:
    """One file, the pictures from `folder` within it; it loads nothing and runs nothing."""
    body = "".join(piece for each in sections for piece in _html(each, folder))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head += f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body><h1>{_text(title)}</h1>{body}</body></html>\n'


def _html(section: Section, folder: Path) -> Iterator[str]:
    yield f"<h{section.level}>{_text(section.title)}</h{section.level}>"
    for part in section.parts:
        if isinstance(part, Table):
            head = _html_row("th", part.head, part.left)
            yield f'<div class="wide"><table><thead>{head}</thead><tbody>'
            yield from (_html_row("td", row, part.left) for row in part.rows)
            yield "</tbody></table></div>"
        elif isinstance(part, Image):
            data = base64.b64encode((folder / part.path).read_bytes()).decode()
            yield f'<p><img alt="{_text(part.text)}" src="data:image/png;base64,{data}"></p>'
        else:
            yield f"<p>{_text(part)}</p>"


def _html_row(tag: str, row: Sequence[str], left: int) -> str:
    kinds = [' class="text"' if number < left else "" for number in range(len(row))]
    return (
        "<tr>" + "".join(f"<{tag}{kind}>{_text(text)}</{tag}>" for text, kind in zip(row, kinds, strict=True)) + "</tr>"
    )


def _text(text: str) -> str:
    return html.escape(one_line(text))
