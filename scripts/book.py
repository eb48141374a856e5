"""Run every number of the textbook that can be run on Office-31's images, and write what each of its quirks is worth.

Cells that are in RESULTS already are not computed again. Writes results/book.csv, a row a cell, and from it the page
results/book.md: scripts/book.md with a number in each of its places. A place is one of

    [[last NAME]]     accuracy on amazon -> webcam of the last iterate; with several seeds, mean and standard deviation
    [[stopped NAME]]  the same of what the book's deep listings print: the best epoch by target labels, stopped early
    [[best NAME]]     the same of the best epoch by target labels, not stopped
    [[reading NAME]]  stopped less last: what choosing the epoch by target labels is worth, in points
    [[six NAME]]      mean of the last over the six tasks
    [[KIND NAME -- OTHER]]  their difference in points, paired by seed
    [[least PREFIX]], [[most PREFIX]]  extreme of the last over the variants whose names begin so
    [[book METHOD]], [[companion METHOD]]  the reported value on amazon -> webcam

where NAME is that of a variant in `VARIANTS`.

    python scripts/book.py --weights resnet50-imagenet1k-caffe.safetensors
    python scripts/book.py --page    # only the page
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from tda.config import Sweep
from tda.errors import UsageError
from tda.run import run
from tda.store import Record

ROOT = Path(__file__).parent.parent
TEMPLATE, CELLS, PAGE = ROOT / "scripts" / "book.md", ROOT / "results" / "book.csv", ROOT / "results" / "book.md"
REPORTED = {"book": "textbook.csv", "companion": "textbook_companion.csv"}
PLACE = r"\[\[(\w+) ([^\]]+?)(?: -- ([^\]]+))?\]\]"
WIDTH = 118  # of the page
PATIENCE = 20  # epochs without a better one, after which the companion code stops
ALL, ONE = "A-D,A-W,D-A,D-W,W-A,W-D", "A-W"


class Variant(NamedTuple):
    """One line of the page's tables: a method as printed, or with quirks switched on or off."""

    name: str
    overrides: str
    tasks: str = ALL
    seeds: int = 1


def shallow() -> Iterator[Variant]:
    yield Variant("knn/as they come", "method=one_nn")
    yield Variant("knn/unit rows", "method=one_nn backbone.unit_rows=true")
    for how in ("source", "joint", "domain"):
        yield Variant(f"knn/{how}", f"method=one_nn method.standardise={how}")
    yield Variant("svm", "method=linear_svm")
    scaled = "method=kmm_listing"
    rbf = f"{scaled} method.kernel=rbf method.B=18.0"
    yield Variant("kmm/listing", scaled)
    yield Variant("kmm/listing, z-scored", f"{scaled} method.standardise=domain")
    yield Variant("kmm/companion", rbf)
    yield Variant("kmm/companion, z-scored", f"{rbf} method.standardise=domain")
    yield Variant("kmm/companion, bandwidth", f"{rbf} method.gamma=null")
    yield Variant("kmm/weights", "method=kmm method.kernel=linear method.B=1.0")
    yield Variant("kmm/weights, bandwidth", "method=kmm method.B=18.0")
    yield Variant("kmm/corrected", "method=kmm")
    for unit_mmd in (True, False):
        for unit_rows in (True, False):
            for columns in ("unit", "constraint"):
                rows = f"method.unit_rows={unit_rows} method.unit_components={unit_rows}"
                given = f"method.unit_mmd={unit_mmd} {rows} method.columns={columns}"
                yield Variant(f"tca/{unit_mmd:d}{unit_rows:d}{columns == 'unit':d}", f"method=tca {given}")
    for dim in (10, 20, 40, 60, 100):
        yield Variant(f"tca/dim {dim}", f"method=tca_listing method.dim={dim}", ONE)
    for lam in (0.01, 0.1, 10.0):
        yield Variant(f"tca/lam {lam:g}", f"method=tca_listing method.lam={lam}", ONE)
    yield Variant("tca/companion", "method=tca_listing method.dim=40 method.lam=0.1", ONE)
    for how in ("no", "domain"):
        for ridge in (1.0, 0.001):
            yield Variant(f"coral/{how}, {ridge:g}", f"method=coral method.standardise={how} method.ridge={ridge}")
    for how in ("no", "domain"):
        yield Variant(f"coral/{how}, svm", f"method=coral method.standardise={how} classifier=linear_svm")


def deep() -> Iterator[Variant]:
    def three(name: str, overrides: str) -> Variant:
        return Variant(name, overrides, ONE, seeds=3)

    yield three("finetune/listing", "method=source_only backbone.bottleneck=null trainer.batch=128 trainer.lr=0.001")
    yield three("finetune/corrected", "trainer=frozen method=source_only")
    yield three("net/listing", "method=source_only_listing")
    yield three("net/annealed", "method=source_only_listing trainer.alpha=10")
    path, together, annealed = "method.side_branch=false", "method.apart=false", "trainer.alpha=10"
    yield three("net/on the path", f"method=source_only_listing {path} {together} {annealed}")
    yield three("net/on the path, apart", f"method=source_only_listing {path} {annealed}")
    for name in ("ddc", "deep_coral", "dann"):
        listing = f"method={name}_listing"
        trained = "method.transfer.trained=true method.transfer.gamma=10" if name == "dann" else ""
        fixed = f"{listing} {path} {together} {annealed} {trained}"
        yield three(f"{name}/listing", listing)
        yield three(f"{name}/listing, on the path", f"{listing} {path}")
        yield three(f"{name}/fixed", fixed)
        if name != "deep_coral":  # of which the book prints no accuracy
            yield three(f"{name}/fixed, apart", f"{listing} {path} {annealed} {trained}")
            yield three(f"{name}/fixed, constant", f"{listing} {path} {together} {trained}")
            yield three(f"{name}/fixed, weight", f"{fixed} method.weight={0.1 if name == 'dann' else 1.0}")
            yield three(f"{name}/corrected", f"trainer=frozen method={name}")
    dann = f"method=dann_listing {path} {together} {annealed}"
    yield three("dann/fixed, untrained", f"{dann} method.transfer.gamma=10")
    yield three("dann/fixed, no ramp", f"{dann} method.transfer.trained=true")
    yield three("dann/corrected, trained as listed", "method=dann")


VARIANTS = (*shallow(), *deep())


def records(variant: Variant, weights: str, results: Path) -> list[Record]:
    """Run the cells of a variant that are not in the store, and return all of its records."""
    typed = variant.overrides.split()
    seeds = f"seed=range({variant.seeds})" if variant.seeds > 1 else "seed=0"
    common = [f"task={variant.tasks}", f"backbone.weights={weights}", f"results={results}", "runtime.threads=1"]
    return [run(cell.config) for cell in Sweep(["experiment=book_listing", *typed, seeds, *common]).cells]


def measure(weights: str, results: Path, jobs: int) -> pd.DataFrame:
    """Return a row a cell; the longest variants, which are the last, are started first."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {v.name: pool.submit(records, v, weights, results) for v in reversed(VARIANTS)}
        for _ in tqdm(as_completed(running.values()), total=len(running), desc="variants"):
            pass
    return pd.DataFrame([row(v.name, record) for v in VARIANTS for record in running[v.name].result()])


def row(variant: str, record: Record) -> dict[str, object]:
    curve = [accuracy for _, accuracy in record.curve or []]
    return {
        "variant": variant,
        "task": record.task,
        "seed": record.seed,
        "accuracy": record.accuracy,
        "best": record.oracle_best,
        "stopped": early_stopped(curve, PATIENCE) if curve else None,
        "seconds": record.seconds,
        "error": record.error,
    }


def early_stopped(curve: Iterable[float], patience: int) -> float:
    """Return what the listings print: the greatest accuracy before `patience` epochs have brought no greater one.

    Examples
    --------
    >>> early_stopped([50.0, 60.0, 55.0, 58.0, 70.0], patience=2)
    60.0
    """
    best, idle = 0.0, 0
    for accuracy in curve:
        best, idle = (accuracy, 0) if accuracy > best else (best, idle + 1)
        if idle >= patience:
            break
    return best


def cells_of_the_page() -> pd.DataFrame:
    """Return the cells as results/book.csv has them."""
    return pd.read_csv(CELLS)


def page(cells: pd.DataFrame) -> str:
    """Return results/book.md: its template with every place filled."""

    def filled(place: re.Match[str]) -> str:
        kind, name, other = place.groups()
        if kind in REPORTED:
            return reported(kind, name)
        if kind in ("least", "most"):
            among = cells[cells["variant"].str.startswith(name) & (cells["task"] == ONE)]["accuracy"]
            return f"{among.min() if kind == 'least' else among.max():.1f}"
        if other is None:
            return shown(values(cells, kind, name), signed=kind == "reading")
        return shown(values(cells, kind, name) - values(cells, kind, other), signed=True)

    return "\n\n".join(map(wrapped, re.sub(PLACE, filled, TEMPLATE.read_text(encoding="utf-8")).split("\n\n")))


def wrapped(block: str) -> str:
    """Fill the lines of a paragraph, or of each item of a list; leave tables, headings and commands as they are.

    Examples
    --------
    >>> wrapped("one\\ntwo")
    'one two'
    >>> wrapped("* one\\n  two\\n* three")
    '* one two\\n* three'
    """
    if block.startswith(("|", "#", " ")):
        return block
    items = re.split(r"\n(?=\* )", block)
    indent = "  " if block.startswith("* ") else ""
    fill = partial(textwrap.fill, width=WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(fill(" ".join(item.split())) for item in items) + "\n" * block.endswith("\n")


def values(cells: pd.DataFrame, kind: str, name: str) -> pd.Series:
    """Return one variant's values, by seed; one that no seed changes has the value for every seed."""
    own = cells[cells["variant"] == name]
    if own.empty:
        raise ValueError(f"{name!r} in {TEMPLATE} is no variant; choose from {', '.join(cells['variant'].unique())}")
    if kind == "six":
        return own.fillna({"seed": 0}).groupby("seed")["accuracy"].mean()
    own = own[own["task"] == ONE].fillna({"seed": 0}).set_index("seed")
    if kind == "reading":
        return own["stopped"] - own["accuracy"]
    return own[{"last": "accuracy", "stopped": "stopped", "best": "best"}[kind]]


def shown(by_seed: pd.Series, *, signed: bool) -> str:
    mean = f"{by_seed.mean():{'+' if signed else ''}.1f}".replace("-", "−")
    return mean if len(by_seed) == 1 else f"{mean} ± {by_seed.std():.1f}"


def reported(kind: str, method: str) -> str:
    table = pd.read_csv(ROOT / "results" / "reported" / REPORTED[kind], dtype=str)
    found = table[(table["dataset"] == "office31") & (table["task"] == ONE) & (table["method"] == method)]
    return str(found["accuracy"].item())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="imagenet", help="of ResNet-50: a file, or imagenet (default)")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "book", help="where the records are kept")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time")
    parser.add_argument("--page", action="store_true", help="only write the page, from results/book.csv")
    options = parser.parse_args(arguments)
    try:
        measured = None if options.page else measure(options.weights, options.results, options.jobs)
    except UsageError as error:
        print(f"book: {error}", file=sys.stderr)
        return 2
    if measured is not None:
        measured.to_csv(CELLS, index=False, float_format="%.4f")
    cells = cells_of_the_page()
    PAGE.write_text(page(cells), encoding="utf-8")
    print(f"{CELLS}: {len(cells)} cells in {cells['seconds'].sum():.0f} s; {PAGE}")
    return int(cells["error"].notna().any())


if __name__ == "__main__":
    sys.exit(main())
