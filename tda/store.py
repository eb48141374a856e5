"""Records: one atomic JSON file per cell, and the store that holds them."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from math import isclose
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tda.cache import atomic, check_room, digest
from tda.errors import UsageError

FORMAT = 4
READABLE = (2, 3, 4)
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
        ``last``: no target label used. ``oracle``: trained on target labels, cross-fitted, or an iterate that was
        chosen by target labels.
    status : {"ok", "failed"}
    accuracy : float or None
        Per cent of the scored target samples.
    accuracy_per_class : dict of str to float or None, or None
        Per cent, by class name.
    curve : list of (int, float), or None
        Accuracy along the way: steps done, per cent. Nothing is chosen by it unless `selection` is ``oracle``.
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
        Wall time of fit and predict, and of measuring distances and validators where they were asked for.
    error, traceback : str or None
        Why a cell failed.
    config : dict
        All that the result depends on, resolved.
    versions : dict of str to str
        Of Python and of the packages that compute.
    commit : str or None
        Of this project's source, with ``+`` and a hash of the changes where files were changed since.
    created : str
        UTC time, ISO 8601.
    confusion : list of (int, int, int), or None
        True class, predicted class, number of samples, where there are any; classes numbered in the order of
        `accuracy_per_class`.
    selection : str
        What chose the iterate that was scored: a validator, or ``oracle``; ``last`` is no choice at all.
    scores : dict of str to list of (int, float)
        What each validator said along the way: steps done, score, greater is better. Of a shallow method, whose steps
        are not counted, once, at step 0. `trcv` alone reads a few target labels.
    command : str or None
        What runs this cell alone again, as it was configured, wherever results and data then lie.
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
    accuracy_per_class: dict[str, float | None] | None
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
    confusion: list[tuple[int, int, int]] | None = None
    selection: str = "last"
    scores: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    command: str | None = None
    format: int = FORMAT
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)

    @property
    def address(self) -> tuple[str, str, str, str]:
        """Where it is in a store: dataset, method, task, key."""
        return self.dataset, self.method, self.task, self.key


READER = TypeAdapter(Record)


class Store:
    """The records under ``<results>/records``, one file ``<dataset>/<method>/<task>-<key>.json`` each.

    Parameters
    ----------
    results : path
        The results folder.

    Attributes
    ----------
    parts : list of Store
        Itself, or the stores that are read as one.
    """

    def __init__(self, results: str | Path) -> None:
        self.results = Path(results).expanduser()
        self.records = self.results / "records"
        self.parts: list[Store] = [self]

    def check_writable(self) -> None:
        """Raise `UsageError` unless records can be written."""
        try:
            check_room(self.records)
        except OSError as error:
            raise UsageError(
                f"cannot write to the results folder {str(self.results)!r}: {error.strerror}; choose another with "
                "results=PATH"
            ) from error

    def path(self, dataset: str, method: str, task: str, key: str) -> Path:
        """Return the file of a record."""
        return self.records / dataset / method / f"{task}-{key}.json"

    def checkpoint(self, dataset: str, method: str, task: str, key: str) -> Path:
        """Return the file that keeps the training of a cell while it is under way."""
        return self.results / "checkpoints" / dataset / method / f"{task}-{key}.safetensors"

    def embedding(self, dataset: str, method: str, task: str, key: str) -> Path:
        """Return the file that keeps a picture of a cell's features, where the run was told to keep one."""
        return self.results / "features" / dataset / method / f"{task}-{key}.npz"

    def get(self, dataset: str, method: str, task: str, key: str) -> Record | None:
        """Return a cell's record, or None if there is none; a file that is no record of this cell is set aside."""
        path = self.path(dataset, method, task, key)
        try:
            return read(path)
        except FileNotFoundError:
            return None
        except ValueError as error:
            log.warning("%s is %s: %s", path, self._set_aside(path), error)
        except OSError as error:
            log.warning("%s is skipped: %s", path, error.strerror)
        return None

    def twin(self, dataset: str, method: str, key: str) -> Record | None:
        """Return a good record of the same computation under another task: an oracle of the same target."""
        paths = sorted((self.records / dataset / method).glob(f"[!.]*-{key}.json"))
        return next((record for record in self._read(paths) if record.status == "ok"), None)

    def put(self, record: Record) -> None:
        """Write a record, whole or not at all; it replaces an older one of the same cell.

        Raises
        ------
        UsageError
            It cannot be written: the disk is full, say.
        """
        place = self.path(*record.address)
        try:
            with atomic(place) as path:
                path.write_text(json.dumps(asdict(record), ensure_ascii=False, allow_nan=False), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {str(place)!r}: {error.strerror}; the cells before it are kept: make room, and the same "
                "command goes on from there"
            ) from error

    def all(self) -> Iterator[Record]:
        """Yield every record that can be read, in a fixed order; what cannot is named in a warning."""
        return self._read(sorted(self.records.glob("*/*/[!.]*.json")))

    def _read(self, paths: Iterable[Path]) -> Iterator[Record]:
        for path in paths:
            try:
                yield read(path)
            except (OSError, ValueError) as error:
                log.warning("%s is skipped: %s", path, error)

    def _set_aside(self, path: Path) -> str:
        """Move a file out of the records, and say where to."""
        place = self.results / "set-aside" / path.relative_to(self.records)
        number = next(n for n in count() if not place.with_suffix(f".{n}.json").exists())
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            return f"set aside as {path.replace(place.with_suffix(f'.{number}.json'))}"
        except OSError as error:
            return f"skipped (and cannot be moved: {error.strerror})"


class Stores(Store):
    """Several stores read as one: parts of a sweep that were run on machines that share nothing.

    Where several hold the same cell, the first that did not fail stands.

    Parameters
    ----------
    results : sequence of path
        The results folders.
    """

    def __init__(self, results: Sequence[str | Path]) -> None:
        super().__init__(results[0])
        self.parts = [Store(one) for one in results]

    def embedding(self, dataset: str, method: str, task: str, key: str) -> Path:
        """Return the first picture of a cell's features that there is."""
        kept = [part.embedding(dataset, method, task, key) for part in self.parts]
        return next((path for path in kept if path.exists()), kept[0])

    def all(self) -> Iterator[Record]:
        """Yield one record a cell."""
        yield from self.merged()[0]

    def merged(self) -> tuple[list[Record], list[str]]:
        """Return one record a cell, and a line for each cell of which the stores say different accuracies."""
        cells: dict[tuple[str, str, str, str], dict[Path, Record]] = {}
        for part in self.parts:
            for record in part.all():
                cells.setdefault(record.address, {})[part.results] = record
        records, conflicts = [], []
        for _, held in sorted(cells.items()):
            good = {results: record for results, record in held.items() if record.status == "ok"}
            stands = next(iter((good or held).values()))
            records.append(stands)
            if not all(isclose(record.accuracy or 0, stands.accuracy or 0, abs_tol=1e-9) for record in good.values()):
                said = ", ".join(f"{record.accuracy:.2f} in {results}" for results, record in good.items())
                conflicts.append(f"{stands.dataset} {stands.task} {stands.label} ({stands.key}): {said}")
        return records, conflicts


def mixed(records: Iterable[Record]) -> list[str]:
    """Say of each domain that was not the same in all runs of `records` how many were made of another than the newest.

    A copy of images counts as another where the times of its files differ.
    """
    runs: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for record in (record for record in records if record.data):
        read_as = digest(record.config.get("dataset"))  # a size of images, say, which a fingerprint depends on
        for domain, fingerprint in record.data.items():
            made_of = runs.setdefault((record.dataset, domain, read_as), {})
            made_of.setdefault(fingerprint, []).append(record.created)
    said = []
    for (dataset, domain, _), made in runs.items():
        *older, _ = sorted(made.values(), key=max)
        if older:
            older_ones, among = sum(map(len, older)), sum(map(len, made.values()))
            said.append(
                f"{dataset} {domain}: {older_ones} of {among} records were made from other files, or files with "
                f"other times, the last on {max(map(max, older))}; if what the files hold has changed, delete those "
                "records and run the same command again, otherwise ignore this"
            )
    return said


def read(path: Path) -> Record:
    """Read the record in a file.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        It is no record, or not the one that a run has written there; the message says why.
    """
    content = path.read_bytes()
    try:
        record = READER.validate_json(content)
    except ValidationError as error:
        raise ValueError(why_not(content, error)) from None
    if record.format not in READABLE:
        raise ValueError(of_another_format(record.format))
    if [*path.parts[-3:-1], path.stem] != [record.dataset, record.method, f"{record.task}-{record.key}"]:
        raise ValueError(f"it is the record of {record.dataset}, {record.method}, {record.task}, {record.key}")
    if digest(record.config) != record.key:
        raise ValueError("it was edited: its config is not that of its key")
    if record.status == "ok" and not (record.accuracy is not None and 0 <= record.accuracy <= 100):
        raise ValueError(f"it was edited: {record.accuracy} is no accuracy in per cent")
    if record.backbone != record.config.get("backbone", {}).get("name", record.backbone):
        raise ValueError("it was edited: its backbone is not that of its config")
    if record.accuracy is not None and record.confusion is not None:
        right, scored = (sum(n for t, p, n in record.confusion if t == p or each) for each in (False, True))
        if scored != record.scored or not isclose(record.accuracy * scored, 100 * right):
            raise ValueError("it was edited: its accuracy is not that of its confusion matrix")
    return record


def why_not(content: bytes, problem: ValidationError) -> str:
    """Say in one line why a file's content is no record."""
    try:
        written = json.loads(content)["format"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return f"not a record of format {FORMAT}"
    if isinstance(written, int) and written not in READABLE:
        return of_another_format(written)
    first = problem.errors(include_url=False)[0]
    return f"not a record of format {FORMAT}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"


def of_another_format(written: int) -> str:
    """Say what to do about a record of a format that is not read."""
    if written > FORMAT:
        return f"format {written} is newer than this version's {FORMAT}; upgrade tda to read it"
    return f"format {written} is too old to be read; it is made again by the command that made it"
