"""Any file of features and labels as a domain."""

from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.preprocessing import normalize

from tda.data.base import Dataset, check_once
from tda.data.feature_files import Samples, hashed, read
from tda.errors import UsageError, unknown
from tda.task import Domain


class Features(Dataset):
    """Features that were computed before, one file for each domain.

    A file is MATLAB (v5 or v7.3), ``.npz`` or ``.safetensors`` with a matrix of features, samples in rows or in
    columns, and a vector of labels, whole numbers, found by their shapes or named after a ``#``: ``both.mat#Xs,Ys``.
    ``.csv`` has a sample in each line, the label last; a first line without any number, or without one in the place of
    the label only, or that counts 0,1,2,... names the columns. ``.npy`` files come in two: ``features.npy#labels.npy``.

    Parameters
    ----------
    name : str
        Of the dataset.
    root : str
        Folder of the files.
    domains : mapping of str to str
        Short name -> ``FILE`` or ``FILE#FEATURES,LABELS``.
    tasks : str
        The tasks that a sweep takes by default: ``A-C,A-D``.
    classes : sequence of str, optional
        Class names in the order of the sorted labels; None: the labels themselves.
    counts : mapping, optional
        Published number of samples of each domain, or of each class of each domain; other numbers are refused. None
        accepts what is there.
    rows : {"none", "l1", "l2"}
        Divide each sample by the sum of its magnitudes, or by its 2-norm.
    columns : {"none", "standard"}
        Then scale each feature of each domain to mean 0 and variance 1 (n in the denominator, as the authors do); a
        constant feature becomes 0. This uses each domain's own statistics, so that it already aligns them.

    Raises
    ------
    UsageError
        A file is missing, broken or ambiguous, a class or file is named twice, or there are other numbers of samples
        than published.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str,
        domains: Mapping[str, str],
        tasks: str,
        classes: list[str] | None,
        counts: Mapping[str, int | Mapping[str, int]] | None,
        rows: Literal["none", "l1", "l2"],
        columns: Literal["none", "standard"],
    ) -> None:
        self.name = name
        self.root = Path(root).expanduser()
        self.domains = dict(domains)
        super().__init__(tasks=tasks)
        self.named_classes = classes
        self.counts = counts
        self.rows = rows
        self.columns = columns
        self._read: dict[str, Samples] = {}
        check_once(name, "classes", classes or ())
        check_once(name, "domains", self.domains.values())

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Class names in the order of the labels."""
        return tuple(self.named_classes or map(str, self._labels))

    def load(self, name: str) -> Domain:
        """Read one domain."""
        labels = self._labels
        if self.named_classes is not None and len(labels) != len(self.named_classes):
            raise UsageError(
                f"{self.name} has {len(labels)} labels ({', '.join(map(str, labels))}) for "
                f"{len(self.named_classes)} class names; give as many in dataset.classes"
            )
        samples = self._samples(name)
        for difference in self.differences(name):
            raise UsageError(f"{difference}; set dataset.counts=null to run on what is there")
        widths = {domain: self._samples(domain).x.shape[1] for domain in self.domains}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{domain} {width}" for domain, width in widths.items())
            raise UsageError(f"{self.name}: expected domains of the same features; their numbers are {said}")
        x = scaled(samples.x, self.rows, self.columns)
        y = np.searchsorted(labels, samples.y)
        x.setflags(write=False)
        y.setflags(write=False)
        return Domain(name, x, y, samples.fingerprint)

    def content(self, name: str) -> str:
        return hashed(self.root, self.domains[name])

    def census(self, name: str) -> Counter[str]:
        return Counter(self.classes[label] for label in np.searchsorted(self._labels, self._samples(name).y))

    @cached_property
    def _labels(self) -> np.ndarray:
        return np.unique(np.concatenate([self._samples(name).y for name in self.domains]))

    def _samples(self, name: str) -> Samples:
        if name not in self.domains:
            raise unknown(f"domain of {self.name}", name, self.domains)
        if name not in self._read:
            self._read[name] = read(self.root, self.domains[name])
        return self._read[name]


def scaled(x: np.ndarray, rows: Literal["none", "l1", "l2"], columns: Literal["none", "standard"]) -> np.ndarray:
    """Return features (n, d) with rows of norm 1 and then, where wanted, columns of mean 0 and variance 1."""
    if rows != "none":
        x = normalize(x.astype(np.float64, copy=False), norm=rows)
    if columns == "standard":
        x = x.astype(np.float64, copy=False)
        centred, deviation = x - x.mean(axis=0), x.std(axis=0)
        x = np.divide(centred, deviation, out=np.zeros_like(x), where=np.ptp(x, axis=0) > 0)
    return x.copy()
