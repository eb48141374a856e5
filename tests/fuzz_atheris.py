"""Fuzz the readers of files with atheris, which looks for input that takes new paths through their code.

    python tests/fuzz_atheris.py features -max_total_time=60
    python tests/fuzz_atheris.py record -runs=100000

What follows the reader's name are libFuzzer's own options. Ends with a traceback and the input at the first error that
is no clear line, otherwise with exit code 0. Needs ``pip install atheris``; the suite runs each for a moment where it is.
"""

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["tda"]):
    from tda.data import feature_files, images, matlab
    from tda.errors import UsageError
    from tda.store import read


def features(folder: Path, content: bytes) -> None:
    """Read a file of features of the format that the first byte says."""
    suffix = [*feature_files.READERS][content[0] % len(feature_files.READERS)] if content else ".csv"
    (folder / f"x{suffix}").write_bytes(content[1:])
    with suppress(UsageError):
        feature_files.read(folder, f"x{suffix}#x.npy" if suffix == ".npy" else f"x{suffix}")


def mat(_: Path, content: bytes) -> None:
    """Read what follows the header of a MATLAB file."""
    with suppress(ValueError):
        matlab.read_v5(bytes(126) + b"IM" + content)


def record(folder: Path, content: bytes) -> None:
    """Read a record."""
    (folder / "O-P-x.json").write_bytes(content)
    with suppress(ValueError):
        read(folder / "O-P-x.json")


def image(folder: Path, content: bytes) -> None:
    """Decode an image."""
    (folder / "x").write_bytes(content)
    with suppress(images.UnreadableImageError):
        images.decoded(folder / "x", 8, "shorter")


READERS: dict[str, Callable[[Path, bytes], None]] = {"features": features, "mat": mat, "record": record, "image": image}


def main() -> None:
    """Fuzz the reader that the command line names."""
    reader = READERS[sys.argv.pop(1)]
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        atheris.Setup(sys.argv, lambda content: reader(Path(folder), content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
