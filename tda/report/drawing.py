"""How figures of a report look and are written: colours, style, axes, legends and tiles."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tda.cache import atomic

INK, MUTED, RULE, PAPER, ACCENT, TILE = "#1b1f24", "#5d6670", "#d5d9de", "#fefefe", "#24568f", "#24568e"
SERIES = ("#0b6aa8", "#c8501e", "#1d8a62", "#8a4fb0", "#b07a00", "#b8336a", "#4c8fa8", "#6f6a5f")
STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 8.0, "text.parse_math": False, "text.color": INK,
    "axes.edgecolor": RULE, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "axes.titlesize": 8.5,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "axes.linewidth": 0.8, "axes.facecolor": "none",
    "grid.color": RULE, "grid.linewidth": 0.5, "xtick.color": MUTED, "ytick.color": MUTED,
    "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "xtick.major.size": 0, "ytick.major.size": 0,
    "lines.linewidth": 1.6, "legend.frameon": False, "legend.fontsize": 7.5, "figure.facecolor": PAPER,
    "figure.dpi": 100, "savefig.dpi": 200, "svg.fonttype": "none", "svg.hashsalt": "tda",
    "figure.constrained_layout.use": True,
}  # fmt: skip
WIDTH = 3.8  # inches


class Shown(NamedTuple):
    """A figure, and all that is said of it."""

    section: str
    name: str  # of its file
    title: str
    caption: str
    alt: str
    figure: Figure


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the report's style; a label in a script that the font lacks is no reason to warn."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def write(shown: Iterable[Shown], folder: Path) -> list[Path]:
    """Write each figure as ``NAME.svg`` and ``NAME.png``, and return the paths."""
    paths = []
    for one in shown:
        name = re.sub(r"[^\w.+-]", "_", one.name)
        with styled():
            one.figure.suptitle(one.title, x=0.02, ha="left", fontsize=9, fontweight="bold")
        for suffix in ("svg", "png"):
            path = folder / f"{name}.{suffix}"
            with styled(), atomic(path) as temporary:
                metadata = {"Date": None} if suffix == "svg" else {}
                one.figure.savefig(temporary, format=suffix, metadata=metadata)
            paths.append(path)
    return paths


def drawn(height: float, width: float = WIDTH, **kwargs: Any) -> tuple[Figure, Any]:
    """Return a figure of this size, in inches, and its axes."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(**kwargs)


def legend(figure: Figure, ax: Axes) -> None:
    """Put what is labelled in `ax` below it, in as many columns as its names leave room for."""
    names = ax.get_legend_handles_labels()[1]
    if names:
        columns = max(1, min(len(names), int(58 / (7 + max(map(len, names))))))
        figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=columns)


def some(shown: int, there: int, what: str, rule: str) -> str:
    """Say which part of what is there is shown, where it is not all.

    Examples
    --------
    >>> some(6, 12, "tasks", "the first"), some(6, 6, "tasks", "the first")
    (' Shown: 6 of 12 tasks, the first.', '')
    """
    return f" Shown: {shown} of {there} {what}, {rule}." if shown < there else ""


def tiles(ax: Axes, values: np.ndarray, shares: np.ndarray, texts: np.ndarray | None) -> None:
    """Draw a matrix as tiles, the fuller the colour the greater the share in [0, 1]; NaN leaves a gap."""
    for (i, j), share in np.ndenumerate(shares):
        if np.isnan(values[i, j]):
            continue
        ax.add_patch(Rectangle((j + 0.03, i + 0.03), 0.94, 0.94, facecolor=TILE, alpha=0.06 + 0.94 * share, lw=0))
        if texts is not None:
            colour = "#ffffff" if share > 0.72 else INK
            ax.text(j + 0.5, i + 0.53, str(texts[i, j]), ha="center", va="center", fontsize=7, color=colour)
    ax.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    ax.grid(False)
    ax.spines[:].set_visible(False)


def shortened(name: str, length: int = 26) -> str:
    """Return a name that fits an axis, cut in the middle: what tells settings of one method apart is at the end.

    Examples
    --------
    >>> shortened("TCA (classifier=OneNN, dim=30)", 15)
    'TCA (cl…dim=30)'
    """
    if len(name) <= length:
        return name
    front = length // 2
    return f"{name[:front]}…{name[front + 1 - length :]}"
