"""What every dataset offers: named domains over one set of classes, and its source -> target tasks."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache

from tda.errors import UsageError, unknown
from tda.task import Domain, Task

PLAIN = re.compile(r"[A-Za-z0-9_.+ ]+")


def check_domain(name: str) -> None:
    """Raise `UsageError` for a domain's name that cannot be a part of a task's, nor be typed as one."""
    if not PLAIN.fullmatch(name):
        raise UsageError(
            f"{name!r} names a domain; expected letters a to z, digits, spaces and . _ + (tasks are made of it); "
            f"name it yourself: 'dataset.domains={{A: \"{name}\", ...}}'"
        )


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

    def pair(self, task: str) -> tuple[str, str]:
        """Return the source's and the target's name of a task ``SOURCE-TARGET``.

        Raises
        ------
        UsageError
            If `task` does not name two different domains of this dataset.
        """
        source, _, target = task.partition("-")
        if source == target or not {source, target} <= set(self.domains):
            raise unknown(f"task of {self.name}", task, self.tasks)
        return source, target

    def task(self, task: str) -> Task:
        """Return a task, transductive: the target's own samples are scored."""
        source, target = self.pair(task)
        scored = self.domain(target)
        return Task(self.name, self.domain(source), scored, scored, self.classes)

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
