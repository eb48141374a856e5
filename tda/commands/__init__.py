"""What can be typed after ``tda``: one file a command, with its options, its examples and what it does with them.

Each has ``add``, which adds its parser to those of the command line.
"""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
