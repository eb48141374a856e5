"""Model selection: what is kept back from the source, what validators say of a run on the way, and what chooses."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from sklearn.metrics import accuracy_score

from tda.errors import UsageError, unknown
from tda.methods.shallow.base import Aligner
from tda.task import Domain
from tda.validators import VALIDATORS, Candidate

LAST = "last"
ORACLE = "oracle"
READING_LABELS = ("trcv", ORACLE)


@dataclass
class Selection:
    """How the iterate that is scored is chosen among those along the way.

    Attributes
    ----------
    chooser : str
        ``last``, which is no choice; a validator (see `tda.validators`); or ``oracle``, the accuracy itself.
    scores : list of str
        Validators whose scores are recorded on the way, besides the chooser's.
    held : float
        Share of the source samples of each class that is kept back from training, for the validators that need a loss
        on the source.
    candidates : int
        How many iterates are compared, where ``trainer.watch_every`` does not say after how many steps.
    labelled : int
        Target samples of each class whose labels `trcv` reads. They stay among those that are scored.
    """

    chooser: str = LAST
    scores: list[str] = field(default_factory=list)
    held: float = 0.2
    candidates: int = 10
    labelled: int = 3

    @property
    def judging(self) -> bool:
        """Whether anything is said of the iterates on the way."""
        return self.chooser != LAST or bool(self.scores)

    @property
    def validators(self) -> tuple[str, ...]:
        """The validators that are asked, the chooser among them where it is one."""
        return tuple(dict.fromkeys(name for name in (*self.scores, self.chooser) if name in VALIDATORS))

    @property
    def protocol(self) -> Literal["last", "oracle"]:
        """What stands in the record: an oracle is what was chosen by target labels."""
        return "oracle" if self.chooser in READING_LABELS else "last"

    def identity(self) -> dict[str, Any]:
        """Return what a record depends on of it; nothing where the last iterate is taken and nothing is said."""
        if not self.judging:
            return {}
        asked = {"scores": sorted(self.validators), "held": self.held, "candidates": self.candidates}
        if "trcv" in self.validators:
            asked["labelled"] = self.labelled
        return {"selection": self.chooser, "validation": asked}

    def check(self) -> None:
        """Raise `UsageError` for a name that is no validator, and for a number that is out of range."""
        for name in self.scores:
            if name not in VALIDATORS:
                raise unknown("validator", name, VALIDATORS)
        if self.chooser not in (LAST, ORACLE, *VALIDATORS):
            raise unknown("chooser", self.chooser, (LAST, ORACLE, *VALIDATORS))
        if not 0 < self.held < 1:
            raise UsageError(f"selection.held={self.held}: expected a share of the source, above 0 and below 1")
        for name in ("candidates", "labelled"):
            if getattr(self, name) < 1:
                raise UsageError(f"selection.{name}={getattr(self, name)}: expected at least 1")


class Judge:
    """Says how good each iterate of a run is.

    Parameters
    ----------
    selection : Selection
        What is asked.
    held : Domain
        Source samples that are not trained on.
    few : tuple of ndarray or None
        Rows of the target whose classes `trcv` may read, and these classes; None for every other validator.
    truth : ndarray, optional
        The classes of the samples that are scored, for the oracle alone.
    """

    def __init__(
        self, selection: Selection, held: Domain, few: tuple[np.ndarray, np.ndarray] | None, truth: np.ndarray | None
    ) -> None:
        self.selection = selection
        self.held = held
        self.few = few
        self.truth = truth

    def scores(self, candidate: Candidate) -> dict[str, float]:
        """Return what each validator says, greater is better; one that can say nothing is left out."""
        return asked(self.selection.validators, candidate)

    def value(self, scores: Mapping[str, float], predicted: np.ndarray) -> float:
        """Return what an iterate is worth to the chooser; minus infinity where it says nothing."""
        if self.truth is not None:
            return float(accuracy_score(self.truth, predicted))
        return scores.get(self.selection.chooser, -np.inf)

    @property
    def chooses(self) -> bool:
        """Whether another iterate than the last may be taken."""
        return self.selection.chooser != LAST


def asked(validators: tuple[str, ...], candidate: Candidate) -> dict[str, float]:
    """Return the finite scores of these validators, greater is better."""
    scores = {name: VALIDATORS[name](candidate) for name in validators}
    return {name: score for name, score in scores.items() if score is not None and np.isfinite(score)}


def kept_back(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return which samples (n,) to keep back: of each class this share, rounded, and never the last one.

    Raises
    ------
    UsageError
        If the classes are too small for any.

    Examples
    --------
    >>> kept_back(np.array([0, 0, 0, 0, 0, 1]), 0.2, seed=0).sum()
    np.int64(1)
    """
    draw = np.random.default_rng(seed)
    back = np.zeros(len(y), dtype=bool)
    for c in np.unique(y):
        rows = draw.permutation(np.flatnonzero(y == c))
        back[rows[: min(round(share * len(rows)), len(rows) - 1)]] = True
    if not back.any():
        raise UsageError(f"selection.held={share} keeps back no source sample: the classes are too small; raise it")
    return back


def split(source: Domain, share: float, seed: int) -> tuple[Domain, Domain]:
    """Return the source in two: what is trained on, and what is kept back."""
    back = kept_back(source.y, share, seed)
    kept, held = (replace(source, x=source.x[rows], y=source.y[rows]) for rows in (~back, back))
    return kept, held


def few_labels(y: np.ndarray, number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `number` random samples of each class, or of all that there are, and their classes."""
    draw = np.random.default_rng(seed)
    rows = np.concatenate([draw.permutation(np.flatnonzero(y == c))[:number] for c in np.unique(y)])
    return rows, y[rows]


def aligner_scores(aligner: Aligner, ys: np.ndarray, selection: Selection) -> dict[str, float]:
    """Return what the validators say of a fitted aligner, in the space where it aligned the domains.

    Its classifier is trained anew on the aligned source but for the share that is kept back, on which it errs or not:
    the loss is 0 or 1. The alignment itself has seen those samples (and where it uses classes, theirs). What needs the
    probabilities of classes is left out.

    Parameters
    ----------
    aligner : Aligner
        Fitted.
    ys : ndarray of shape (ns,)
        The classes of the source samples that it was fitted on.
    selection : Selection
        What is asked.
    """
    Zs, Zt = aligner.aligned_
    back = kept_back(ys, selection.held, seed=0)
    classifier = deepcopy(aligner.classifier).fit(Zs[~back], ys[~back], Zt)
    wrong = (classifier.predict(Zs[back]) != ys[back]).astype(np.float64)
    return asked(selection.validators, Candidate(Zs[~back], Zs[back], ys[back], wrong, Zt))
