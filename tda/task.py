"""A domain and a task: the data that every method is given."""

from dataclasses import dataclass

import numpy as np

GIVEN = "tda.backbones.given.Given"  # the backbone of features that come as they are


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """Samples of one domain.

    Attributes
    ----------
    name : str
        Short name, as in ``A-W``.
    x : ndarray
        ``(n, d)`` float features or ``(n, h, w[, c])`` uint8 images, which may lie in a memory-mapped file.
    y : ndarray of int64, shape (n,)
        Class indices. Only the runner reads those of a target.
    fingerprint : str
        Hash of what the samples were read from; empty where nothing is worth keeping between runs.
    skipped : tuple of str
        Files that could not be read and are not among the samples.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    fingerprint: str = ""
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"domain {self.name}: {len(self.x)} samples but {len(self.y)} labels")


@dataclass(frozen=True, slots=True)
class Task:
    """One source -> target pair.

    Attributes
    ----------
    dataset : str
        Name of the dataset.
    source, target : Domain
        Labelled source; target whose samples (never labels) a method may see.
    test : Domain
        What is scored: the target itself where the protocol is transductive.
    classes : tuple of str
        Class names; label ``i`` is ``classes[i]``.
    """

    dataset: str
    source: Domain
    target: Domain
    test: Domain
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The pair as it is typed: ``A-W``."""
        return f"{self.source.name}-{self.target.name}"

    @property
    def transductive(self) -> bool:
        """Whether the samples that are scored are those that the method has seen (without labels)."""
        return self.test is self.target
