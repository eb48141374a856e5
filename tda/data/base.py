"""What every dataset offers: named domains over one set of classes, and its source -> target tasks."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import permutations
from textwrap import shorten

import numpy as np

from tda.errors import UsageError, unknown, warn_once
from tda.task import Domain, Task

PLAIN = re.compile(r"[A-Za-z0-9_.+ ]+")


def check_domain(name: str) -> None:
    """Raise `UsageError` for a domain's name that cannot be a part of a task's, nor be typed as one."""
    if not PLAIN.fullmatch(name):
        raise UsageError(
            f"{name!r} names a domain; expected letters a to z, digits, spaces and . _ + (tasks are made of it); "
            "name it yourself: 'dataset.domains={A: \"PLACE\", ...}', where PLACE is its folder, or its file, with the "
            f'ending ("{name}.npz", say)'
        )


def check_once(dataset: str, what: str, given: Iterable[str]) -> None:
    """Raise `UsageError` where a value stands twice in a dataset's setting `what`."""
    for one, times in Counter(given).items():
        if times > 1:
            raise UsageError(f"{dataset}: {one!r} is listed twice in dataset.{what}; expected each once")


class Dataset(ABC):
    """A family of domains that share their classes.

    Parameters
    ----------
    tasks : str
        The tasks that a sweep takes by default, separated by commas: ``A-D,A-W,D-A``.

    Attributes
    ----------
    name : str
        As in the configuration.
    domains : mapping of str to str
        Short name -> what it is: ``{"A": "amazon"}``.
    classes : tuple of str
        Class names in the order of the labels.
    counts : mapping or None
        Published number of samples of each domain, or of each class of each domain, where there is one.
    """

    name: str
    domains: Mapping[str, str]
    classes: tuple[str, ...]
    counts: Mapping[str, int | Mapping[str, int]] | None = None

    def __init__(self, *, tasks: str) -> None:
        for domain in self.domains:
            check_domain(domain)
        self.tasks = tuple(task.strip() for task in tasks.split(","))
        self.domain = lru_cache(maxsize=None)(self.load)

    @abstractmethod
    def load(self, name: str) -> Domain:
        """Read one domain; called once for each domain."""

    def content(self, name: str) -> str:
        """Return the fingerprint that a domain has if it is loaded now; "" where there are no files that may change."""
        return ""

    def pair(self, task: str) -> tuple[str, str]:
        """Return the source's and the target's name of a task ``SOURCE-TARGET``.

        Raises
        ------
        UsageError
            If `task` does not name two different domains of this dataset.
        """
        source, _, target = task.partition("-")
        if source == target or not {source, target} <= set(self.domains):
            raise unknown(f"task of {self.name}", task, map("-".join, permutations(self.domains, 2)))
        return source, target

    def task(self, task: str) -> Task:
        """Return a task; classes that one of its domains lacks are told, once in a process.

        Raises
        ------
        UsageError
            If there is no such task, or its domains have no class in common.
        """
        source, target = self.pair(task)
        made = Task(self.name, self.domain(source), self.domain(target), self.scored(target), self.classes)
        if told := lacks(made):
            warn_once(
                f"{self.name} {task}: {told}; expected the same classes in both domains: see that they are labelled "
                "alike"
            )
        return made

    def scored(self, name: str) -> Domain:
        """Return what is scored of a target: its own samples, transductive."""
        return self.domain(name)

    def census(self, name: str) -> Counter[str]:
        """Return the number of samples of each class of a domain."""
        return Counter(self.classes[label] for label in self.domain(name).y)

    def differences(self, name: str) -> Iterator[str]:
        """Yield, as one line each, how a domain differs from the published classes and counts."""
        there, published = self.census(name), (self.counts or {}).get(name)
        where = f"{self.name} {name} ({self.domains[name]})"
        if isinstance(published, Mapping):
            for label in dict.fromkeys([*published, *there]):
                found, expected = there[label], published.get(label, 0)
                if found != expected:
                    yield f"{where} has {found or 'no'} samples of class {label!r}, published {expected}"
        elif published is not None and there.total() != published:
            yield f"{where} has {there.total()} samples, published {published}"


def lacks(task: Task) -> str:
    """Say which classes one domain of a task lacks and the other has, and whether the source has one only.

    Raises
    ------
    UsageError
        If they have no class in common.

    Examples
    --------
    >>> a, b = Domain("A", np.zeros((3, 2)), np.array([0, 0, 1])), Domain("B", np.zeros((2, 2)), np.array([1, 2]))
    >>> lacks(Task("toy", a, b, b, ("bike", "mug", "pen")))
    'A has no samples of class pen, B has no samples of class bike'
    """
    source, target = (set(np.unique(domain.y).tolist()) for domain in (task.source, task.target))
    if not source & target:
        pair = f"{task.source.name} and {task.target.name}"
        raise UsageError(f"{task.dataset}: {pair} have no label in common; label both alike")
    told = []
    for domain, absent in ((task.source, target - source), (task.target, source - target)):
        if absent:
            names = ", ".join(task.classes[label] for label in sorted(absent))
            told.append(f"{domain.name} has no samples of class {shorten(names, 100, placeholder=' ...')}")
    if len(source) == 1:
        told.append(f"{task.source.name} has a single class to learn from")
    return ", ".join(told)


def cause(error: Exception) -> str:
    """Say in one line why a file cannot be read, without its path.

    Examples
    --------
    >>> cause(FileNotFoundError(2, "No such file or directory", "a.mat"))
    'No such file or directory'
    """
    if isinstance(error, UnicodeDecodeError):
        return f"expected text in UTF-8, given the byte 0x{error.object[error.start]:02x}"
    said = error.strerror if isinstance(error, OSError) else None
    return said or str(error).partition("\n")[0] or type(error).__name__
