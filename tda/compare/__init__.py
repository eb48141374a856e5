"""Our accuracies beside the reported ones, and what differs between the two; never imports torch or Hydra."""

from tda.compare.comparison import Cell, Comparison, Side, compare, plural
from tda.compare.formats import FORMATS, LEGEND, Block, blocks, render, signed

__all__ = [
    "FORMATS",
    "LEGEND",
    "Block",
    "Cell",
    "Comparison",
    "Side",
    "blocks",
    "compare",
    "plural",
    "render",
    "signed",
]
