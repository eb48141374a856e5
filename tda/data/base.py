"""What every dataset offers: named domains over one set of classes, and its source -> target tasks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache

from tda.errors import unknown
from tda.task import Domain, Task


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
    """

    name: str
    domains: Mapping[str, str]
    classes: tuple[str, ...]

    def __init__(self, *, tasks: str) -> None:
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
