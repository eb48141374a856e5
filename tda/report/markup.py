"""What the page is made of: tables in boxes of their own, and drawings that follow its theme."""

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape
from io import StringIO
from typing import NamedTuple

from tda.report import drawing
from tda.report.drawing import Shown, styled
from tda.report.table import Entry

TALL = 24  # rows from which a table scrolls in a box of its own height
PIXELS = 96  # an inch on the screen
THEMED = {
    drawing.INK: "ink", drawing.MUTED: "muted", drawing.RULE: "rule", drawing.PAPER: "raised",
    drawing.ACCENT: "accent", drawing.TILE: "tile", **{colour: f"s{i}" for i, colour in enumerate(drawing.SERIES)},
}  # fmt: skip


class Grid(NamedTuple):
    """A table of plain text: its caption, its column heads, its lines, and which columns are numbers or prose."""

    caption: str
    head: Sequence[str]
    lines: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    prose: frozenset[int] = frozenset()


def code(text: str) -> str:
    """Return escaped text with what stands between backquotes as code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


def known(value: float | None, shown: Callable[[float], str]) -> str:
    """Return a place for a number that need not be there."""
    return "<td data-value></td>" if value is None else f'<td data-value="{value}">{shown(value)}</td>'


def place(entry: Entry, kind: str = "") -> str:
    """Return one place of the table of accuracies."""
    value = "" if entry.mean is None else f"{entry.mean:.4f}"
    if entry.failed:
        shown = '<span class="bad">failed</span>'
    elif entry.mean is None:
        shown = '<span class="std">–</span>'
    else:
        mark = "best" if entry.best else "second" if entry.second else ""
        shown = f'<span class="{mark}">{entry.mean:.1f}</span>' if mark else f"{entry.mean:.1f}"
        shown += "" if entry.std is None else f' <span class="std">±{entry.std:.1f}</span>'
    arrow = '<abbr title="negative transfer">↓</abbr>' if entry.negative else ""
    return f'<td data-value="{value}"{f" class={kind}" if kind else ""}>{shown}<span class="mark">{arrow}</span></td>'


def grid_table(grid: Grid, kind: str = "sortable") -> str:
    """Return a table of plain text, escaped; columns of numbers are flush right and sort as numbers."""

    def cell(i: int, text: str) -> str:
        if i in grid.numbers:
            return f"<td{number(text)}>{escape(text)}</td>"
        if i == 0:
            return f'<th scope="row" class="name">{escape(text)}</th>'
        return f'<td class="name{" wrap" if i in grid.prose else ""}">{escape(text)}</td>'

    heads = "".join(
        f'<th scope="col"{"" if i in grid.numbers else " class=name"}>{escape(name)}</th>'
        for i, name in enumerate(grid.head)
    )
    lines = "".join(f"<tr>{''.join(cell(i, text) for i, text in enumerate(line))}</tr>" for line in grid.lines)
    return f'<table class="{kind}"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>'


def number(text: str) -> str:
    """Return the attribute by which a number is sorted, nothing where the text is none."""
    try:
        return f' data-value="{float(text)}"'
    except ValueError:
        return " data-value"


def box(name: str, content: Grid) -> Iterator[str]:
    """Yield a table with its caption, in a box in which it scrolls."""
    return boxed(name, grid_table(content), len(content.lines), code(content.caption))


def boxed(name: str, inner: str, rows: int, caption: str = "") -> Iterator[str]:
    """Yield a table in a box in which it scrolls, by keyboard too, and what is said of it below."""
    tall = " tall" if rows > TALL else ""
    yield f'<figure class="table"><div class="scroll{tall}" role="region" aria-label="{escape(name)}" tabindex="0">'
    yield f"{inner}</div>{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def figure(shown: Shown, identifier: str, common: str, alone: bool) -> str:
    """Return a figure with its heading and caption; one that is wider than a phone scrolls in its own box."""
    width = shown.figure.get_figwidth()
    wide = width > drawing.WIDTH + 0.01
    size = f"width:{width * PIXELS:.0f}px;" + ("" if wide else "max-width:100%")
    region = f' role="region" aria-label="{escape(shown.title)}" tabindex="0"' if wide else ""
    said = "" if shown.caption == common else f"<figcaption>{escape(shown.caption)}</figcaption>"
    heading = "" if alone else f"<h4>{escape(shown.title)}</h4>"
    return f'<figure>{heading}<div class="plot"{region}>{svg(shown, identifier, size)}</div>{said}</figure>'


def svg(shown: Shown, identifier: str, size: str) -> str:
    """Return a figure as an SVG element that follows the page's theme and shares no identifier with another."""
    file = StringIO()
    with styled():
        shown.figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"<metadata>.*?</metadata>", "", file.getvalue(), flags=re.DOTALL)
    box = re.search(r'viewBox="([^"]*)"', drawn)
    inner = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    inner = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), inner)
    inner = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", inner)
    inner = re.sub(r'<g id="[^"]*"', "<g", inner)
    inner = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{identifier}-", inner)
    for colour, name in THEMED.items():
        inner = inner.replace(colour, f"var(--{name})")
    size += f'" viewBox="{box[1]}' if box else ""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} role="img" aria-label="{escape(shown.alt)}" style="{size}">{inner.strip()}'
