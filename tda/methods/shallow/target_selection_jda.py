"""TargetSelectionJDA: joint distribution adaptation with the target samples whose guesses can be trusted."""

from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from sklearn.neighbors import NearestNeighbors

from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.jda import JDA, conditional


class TargetSelectionJDA(JDA):
    """JDA whose class means are those of selected target samples only ::

        M = C M_0 + sum_c M_c,   e_c = 1/ns_c, or -1/|T_c| for the target samples in T_c

    A target sample is in T_c if the classifier takes it for class c and so it does with most of the sample's nearest
    target samples, in the components found so far: a guess must agree with the structure of the target. A class
    of which none is selected has no term. M_0 has all samples.

    Parameters
    ----------
    classifier, kernel, dim, lam, gamma, iterations, unit_mmd, unit_rows
        As in `tda.methods.shallow.jda.JDA`.
    neighbours : int
        How many nearest target samples are asked; 0 selects all, which is JDA wherever each class is guessed.

    Attributes
    ----------
    selected_ : ndarray of shape (nt,)
        Which target samples were selected in the last iteration; absent with a single iteration.

    References
    ----------
    C.-A. Hou, Y.-R. Yeh and Y.-C. F. Wang, "An unsupervised domain adaptation approach for cross-domain visual
    classification", AVSS 2015, and, with Y.-H. H. Tsai, "Unsupervised domain adaptation with label and structural
    consistency", IEEE Transactions on Image Processing 25, 2016. The rule of agreement is this implementation's own
    reading of what these papers call label and structural consistency.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        kernel: Literal["primal", "linear", "rbf"] = "primal",
        dim: PositiveInt = 30,
        lam: PositiveFloat = 1.0,
        gamma: PositiveFloat | None = None,
        iterations: PositiveInt = 10,
        unit_mmd: bool = True,
        unit_rows: bool = True,
        neighbours: NonNegativeInt = 5,
    ) -> None:
        super().__init__(
            classifier=classifier,
            kernel=kernel,
            dim=dim,
            lam=lam,
            gamma=gamma,
            iterations=iterations,
            unit_mmd=unit_mmd,
            unit_rows=unit_rows,
        )
        self.neighbours = neighbours

    def _discrepancy(self, Z: np.ndarray, classes: np.ndarray, guesses: np.ndarray | None) -> np.ndarray:
        if guesses is None:
            return super()._discrepancy(Z, classes, None)
        ns = len(classes)
        self.selected_ = consistent(Z[ns:], guesses, self.neighbours)
        e = super()._discrepancy(Z, classes, None)
        kept = np.concatenate([np.ones(ns, dtype=bool), self.selected_])
        E = np.zeros((len(Z), int(classes.max()) + 1))
        E[kept] = conditional(classes, guesses[self.selected_])
        return np.hstack([e, E[:, np.unique(guesses[self.selected_])]])


def consistent(Z: np.ndarray, guesses: np.ndarray, neighbours: int) -> np.ndarray:
    """Return which samples Z (nt, k) have the guess that is the most frequent among their nearest in Z (nt,).

    A tie is in the sample's favour, and so is the want of neighbours.
    """
    asked = min(neighbours, len(Z) - 1)
    if asked == 0:
        return np.ones(len(Z), dtype=bool)
    nearest = NearestNeighbors(n_neighbors=asked).fit(Z).kneighbors(return_distance=False)
    votes = np.zeros((len(Z), int(guesses.max()) + 1))
    np.add.at(votes, (np.arange(len(Z))[:, None], guesses[nearest]), 1)
    agrees: np.ndarray = votes[np.arange(len(Z)), guesses] == votes.max(axis=1)
    return agrees
