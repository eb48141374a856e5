"""Time a simulated sweep: planning, overhead per cell, reading the store and making the table, as the sweep grows.

The method does nothing, so that all there is to measure is what the runner adds::

    python scripts/bench_sweep.py --cells 1000 10000 100000 --csv results/benches/sweep.csv
"""

import argparse
import csv
import json
import os
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Self
from unittest.mock import patch

import numpy as np
from measuring import Compared, machine

from tda import report
from tda.cache import digest
from tda.config import Cell, Sweep
from tda.launch import launch
from tda.methods.shallow.base import ShallowMethod
from tda.store import Record, Store

DOMAINS = 5  # 20 tasks
METHODS = 10
CLASSES = 4


class Nothing(ShallowMethod):
    """Say class 0 of everything."""

    def __init__(self, *, seed: int) -> None:
        self.seed = seed

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.zeros(len(X), dtype=np.int64)


def prepare(folder: Path) -> list[str]:
    """Write the data set and the methods, and return the overrides that sweep them."""
    (folder / "data").mkdir()
    (folder / "conf" / "method").mkdir(parents=True)
    for domain in range(DOMAINS):
        y = np.arange(40) % CLASSES
        np.savez(folder / "data" / f"d{domain}.npz", features=np.eye(40, 8), labels=y)
    for method in range(METHODS):
        (folder / "conf" / "method" / f"nothing_{method}.yaml").write_text(
            f"defaults: [/kind/shallow@_here_, _self_]\nname: nothing_{method}\nlabel: Nothing {method}\n"
            "_target_: bench_sweep.Nothing\nseed: ${seed}\n"
        )
    methods = ",".join(f"nothing_{method}" for method in range(METHODS))
    return [
        "dataset=features", f"dataset.root={folder / 'data'}", f"method={methods}", "allow_external=true",
        f"hydra.searchpath=[file://{folder / 'conf'}]",
    ]  # fmt: skip


class Times(NamedTuple):
    """What a sweep of `cells` cells takes, in seconds; all but `wall` are of this process on one core.

    `running` and `wall` are of the `run` cells that were run, `hydra` is of the same cells as jobs that do nothing.
    """

    cells: int
    run: int
    planning: float
    running: float
    hydra: float
    wall: float
    reading: float
    table: float


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the processor's and the wall's seconds that a call takes, and what it returns."""
    started = time.process_time(), time.perf_counter()
    value = call()
    return time.process_time() - started[0], time.perf_counter() - started[1], value


def measured(cells: int, most: int, folder: Path) -> Times:
    """Sweep that many cells into an empty results folder and make the table, each step timed.

    Of a sweep of more than `most` cells, as many are run, evenly spread; the other records are copies of those.
    """
    overrides = [*prepare(folder), f"seed=range({cells // (DOMAINS * (DOMAINS - 1) * METHODS)})"]
    planning, _, plan = timed(lambda: Sweep([*overrides, f"results={folder / 'results'}"]))
    assert len({cell.address for cell in plan.cells}) == cells
    chosen = plan.cells[:: max(1, cells // most)]
    running, wall, _ = timed(lambda: launch(plan, chosen))
    store = Store(folder / "results")
    model = next(store.all())
    with patch("tda.launch.main", lambda _: model):
        hydra, _, _ = timed(lambda: launch(plan, chosen))
    for cell in plan.cells:
        copied(model, cell, store)
    reading, _, records = timed(lambda: list(store.all()))
    assert len(records) == cells
    table, _, made = timed(lambda: report.render(report.tables(records), "text"))
    assert made.count("Nothing") == METHODS
    return Times(cells, len(chosen), planning, running, hydra, wall, reading, table)


def copied(model: Record, cell: Cell, store: Store) -> None:
    """Write the record of a cell that was not run."""
    _, method, task, key = cell.address
    if (path := store.path(*cell.address)).exists():
        return
    source, _, target = task.partition("-")
    (seed,) = (int(o.removeprefix("seed=")) for o in cell.overrides if o.startswith("seed="))
    made_of = {**model.config, "method": {**model.config["method"], "name": method, "seed": seed}, "task": task}
    assert digest(made_of) == key
    setting = digest(made_of | {"method": made_of["method"] | {"seed": 0}, "task": None})
    record = replace(
        model, key=key, setting=setting, source=source, target=target, task=task, method=method, label=cell.label,
        seed=seed, config=made_of,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(record)))


def run(options: argparse.Namespace) -> list[Compared]:
    """Measure what the options ask for, and print it."""
    print(machine())
    print("             a cell, ms                            all, s")
    print("   cells  planning running (Hydra's part) (wall)  reading   table")
    rows = []
    for cells in options.cells:
        with TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            rows.append(one := measured(cells, options.run, Path(folder)))
        a_job = "{:8.2f} {:15.2f} {:7.2f}".format(
            *(1e3 * part / one.run for part in (one.running, one.hydra, one.wall))
        )
        print(f"{cells:8d} {1e3 * one.planning / cells:8.2f}{a_job} {one.reading:9.2f}{one.table:8.2f}", flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Times._fields)
            writer.writerows([round(number, 3) for number in row] for row in rows)
    return [
        Compared(
            f"a cell of {one.cells}", 1e3 * one.running / one.run, "Hydra's job alone", 1e3 * one.hydra / one.run, "ms"
        )
        for one in rows
    ]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10_000], help="multiples of 200")
    parser.add_argument("--run", type=int, default=10_000, help="run no more of them; the other records are copies")
    parser.add_argument("--csv", type=Path, help="write the numbers there too")
    return parser


if __name__ == "__main__":
    run(arguments().parse_args())
