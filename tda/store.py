"""Records: one atomic JSON file per cell, and the store that holds them."""

import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from tda.cache import atomic
from tda.errors import UsageError

FORMAT = 3
READABLE = (2, 3)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """What is known of one cell once it has been run.

    Attributes
    ----------
    key : str
        Hash of all that the result depends on; the cell's name in the store.
    setting : str
        The same without task and seed: what one row of a table has in common.
    dataset, source, target, task, backbone, method, label : str
        Names; `label` is what tables print for the method.
    baseline : str or None
        The method below whose accuracy transfer is negative.
    seed : int or None
        None for a cell that does not depend on a seed.
    protocol : {"last", "oracle"}
        ``last``: the last iterate, no target label used. ``oracle``: trained on target labels, cross-fitted.
    status : {"ok", "failed"}
    accuracy : float or None
        Per cent of the scored target samples.
    accuracy_per_class : dict of str to float, or None
        Per cent, by class name.
    curve : list of (int, float), or None
        Accuracy along the way: steps done, per cent. Nothing is chosen by it.
    oracle_best : float or None
        The greatest accuracy of `curve`: what choosing the step by target labels would have reported.
    distances : dict of str to float
        Distances between source and target as the method leaves them, those that were asked for.
    scored : int or None
        Number of scored samples; one of them is ``100 / scored`` points.
    data : dict of str to str
        Fingerprint of what each domain was read from, where it has one.
    skipped : list of str
        Files of the dataset that could not be read and were left out.
    seconds : float
        Wall time of fit and predict.
    error, traceback : str or None
        Why a cell failed.
    config : dict
        All that the result depends on, resolved.
    versions : dict of str to str
        Of Python and of the packages that compute.
    commit : str or None
        Of this project's source, with ``+`` where files were changed since.
    created : str
        UTC time, ISO 8601.
    confusion : list of [int, int, int], or None
        True class, predicted class, number of samples, where there are any; classes numbered in the order of
        `accuracy_per_class`.
    selection : str
        What chose the iterate that was scored; ``last`` is no choice at all.
    scores : dict of str to list of (int, float)
        What each validator that reads no target label said along the way: steps done, score, greater is better.
    format : int
        Of the record file; one of an earlier format is read with these defaults.
    """

    key: str
    setting: str
    dataset: str
    source: str
    target: str
    task: str
    backbone: str
    method: str
    label: str
    baseline: str | None
    seed: int | None
    protocol: Literal["last", "oracle"]
    status: Literal["ok", "failed"]
    accuracy: float | None
    accuracy_per_class: dict[str, float] | None
    curve: list[tuple[int, float]] | None
    oracle_best: float | None
    distances: dict[str, float]
    scored: int | None
    data: dict[str, str]
    skipped: list[str]
    seconds: float
    error: str | None
    traceback: str | None
    config: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    created: str
    confusion: list[list[int]] | None = None
    selection: str = "last"
    scores: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    format: int = FORMAT


class Store:
    """The records under ``<results>/records``, one file ``<dataset>/<method>/<task>-<key>.json`` each.

    Parameters
    ----------
    results : path
        The results folder.
    """

    def __init__(self, results: str | Path) -> None:
        self.results = Path(results)
        self.records = self.results / "records"

    def check_writable(self) -> None:
        """Raise `UsageError` unless records can be written."""
        try:
            self.records.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=self.records):
                pass
        except OSError as error:
            raise UsageError(
                f"cannot write to the results folder {str(self.results)!r}: {error.strerror}; choose another with "
                "results=PATH"
            ) from error

    def path(self, dataset: str, method: str, task: str, key: str) -> Path:
        """Return the file of a record."""
        return self.records / dataset / method / f"{task}-{key}.json"

    def get(self, dataset: str, method: str, task: str, key: str) -> Record | None:
        """Return a cell's record, or None if there is none that can be read."""
        path = self.path(dataset, method, task, key)
        return next(self._read([path]), None) if path.exists() else None

    def twin(self, dataset: str, method: str, key: str) -> Record | None:
        """Return a good record of the same computation under another task: an oracle of the same target."""
        paths = sorted((self.records / dataset / method).glob(f"[!.]*-{key}.json"))
        return next((record for record in self._read(paths) if record.status == "ok"), None)

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all; it replaces an older one of the same cell."""
        with atomic(self.path(record.dataset, record.method, record.task, record.key)) as path:
            path.write_text(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False), encoding="utf-8")

    def all(self) -> Iterator[Record]:
        """Yield every record that can be read, in a fixed order; what cannot is named in a warning."""
        return self._read(sorted(self.records.glob("*/*/[!.]*.json")))

    def _read(self, paths: Iterable[Path]) -> Iterator[Record]:
        names = {one.name for one in fields(Record)}
        for path in paths:
            try:
                raw = json.loads(path.read_bytes())
                if not isinstance(raw, dict) or raw.get("format") not in READABLE or not set(raw) <= names:
                    raise ValueError(f"not a record of format {FORMAT}")
                yield Record(**raw)
            except (TypeError, ValueError, OSError) as error:
                log.warning("%s is passed over: %s", os.fspath(path), error)
