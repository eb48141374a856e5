"""Our accuracies beside the reported ones, and what differs between the two; never imports torch or Hydra."""

from tda.compare.comparison import Comparison, compare
from tda.compare.formats import FORMATS, LEGEND, Block, blocks, render, signed
from tda.compare.measured import Cell, Side

__all__ = [
    "FORMATS",
    "LEGEND",
    "Block",
    "Cell",
    "Comparison",
    "Side",
    "blocks",
    "compare",
    "render",
    "signed",
]
