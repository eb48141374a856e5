"""BDA: balanced distribution adaptation, and its dynamic form DDA."""

from copy import copy
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from tda.divergences.proxy import a_distance
from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.jda import JDA, conditional, marginal
from tda.ranges import Share


class BDA(JDA):
    """JDA in which the means of the domains and those of the classes count unequally ::

        M = (1 - mu) C M_0 + mu sum_c M_c

    so that mu = 0 is TCA, 1/2 is JDA (where M is divided by its norm), and 1 aligns the classes alone. The first
    iteration, which has no classes yet, takes M_0. `weighted` is W-BDA, for classes of unequal size ::

        M = (1 - mu) M_0 + mu sum_c M_c,   e_c = sqrt(ns_c / ns) / ns_c, or -sqrt(nt_c / nt) / nt_c

    With ``a_distance`` (dynamic distribution adaptation) mu follows, anew in each iteration, from the proxy
    A-distance d_M of the domains as embedded so far, and those d_c of each class's samples in them ::

        mu = 1 - d_M / (d_M + sum_c d_c)

    The C distances of classes stand against one of domains, so that mu is large where classes are many. (The
    authors' code has the mean of d_c for the sum, and for W-BDA takes mu = 1 and weights nt_c ns / (nt ns_c).) Their
    BDA.m starts each iteration from the last one's M, in which M_0 and earlier M_c decay geometrically; the later
    BDA.py builds M_0, from the third iteration on, of the last class's vector. Accuracies of either, but for mu = 1,
    are not of this M.

    For ``random`` and ``average`` the literature means the accuracy over several mu, which is no method for
    predicting. Here the embeddings of all those mu are put side by side: the squared distance of two samples, and
    so the nearest neighbour, is that of the mean over mu.

    Parameters
    ----------
    classifier, kernel, dim, lam, gamma, iterations, unit_mmd, unit_rows
        As in `tda.methods.shallow.jda.JDA`.
    mu : float in [0, 1], or {"a_distance", "random", "average"}
        The balance; or estimated; or `draws` of them, uniform in [0, 1]; or the eleven 0, 0.1, ..., 1.
    weighted : bool
        Weigh each class by its share in the source and, by the guesses, in the target.
    draws : int
        How many mu are drawn, for ``random``.
    seed : int
        Of the draws.

    Attributes
    ----------
    mu_ : float
        The balance of the last iteration; absent for ``random`` and ``average``, and where there is but one iteration.

    References
    ----------
    J. Wang, Y. Chen, S. Hao, W. Feng and Z. Shen, "Balanced distribution adaptation for transfer learning",
    ICDM 2017. J. Wang, W. Feng, Y. Chen, H. Yu, M. Huang and P. S. Yu, "Visual domain
    adaptation with manifold embedded distribution alignment", ACM Multimedia 2018, for the estimate.
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
        mu: Share | Literal["a_distance", "random", "average"] = 0.5,
        weighted: bool = False,
        draws: PositiveInt = 10,
        seed: NonNegativeInt = 0,
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
        self.mu = mu
        self.weighted = weighted
        self.draws = draws
        self.seed = seed

    def _components(self, F: np.ndarray, energy: np.ndarray, classes: np.ndarray) -> np.ndarray:
        draw = np.random.default_rng(self.seed)
        several = {"random": draw.uniform(size=self.draws), "average": np.linspace(0, 1, 11)}.get(str(self.mu))
        if several is None:
            return super()._components(F, energy, classes)
        first = self._closing(F, energy, self._discrepancy(F, classes, None))  # the same for every mu
        return np.hstack([self._with(float(mu))._refined(F, energy, classes, first) for mu in several])

    def _with(self, mu: float) -> "BDA":
        one = copy(self)
        one.mu = mu
        return one

    def _embedded(self, Z: np.ndarray) -> np.ndarray:
        """Scale the part of each mu to 2-norm 1."""
        return self._rows(Z.reshape(-1, self.dim)).reshape(Z.shape)

    def _discrepancy(self, Z: np.ndarray, classes: np.ndarray, guesses: np.ndarray | None) -> np.ndarray:
        ns, nt = len(classes), len(Z) - len(classes)
        e = marginal(ns, nt)[:, None]
        if guesses is None:
            return e
        E = conditional(classes, guesses)
        count = E.shape[1]
        if self.weighted:
            E[:ns] *= np.sqrt(np.bincount(classes, minlength=count) / ns)
            E[ns:] *= np.sqrt(np.bincount(guesses, minlength=count) / nt)
        else:
            e *= np.sqrt(count)
        self.mu_ = balance(Z, classes, guesses) if isinstance(self.mu, str) else self.mu
        return np.hstack([np.sqrt(1 - self.mu_) * e, np.sqrt(self.mu_) * E])


def balance(Z: np.ndarray, classes: np.ndarray, guesses: np.ndarray) -> float:
    """Return mu in [0, 1] from the A-distances of the samples Z (ns + nt, k) of the domains, and of each class."""
    source, target = Z[: len(classes)], Z[len(classes) :]
    domains = a_distance(source, target)
    by_class = sum(a_distance(source[classes == c], target[guesses == c]) for c in range(int(classes.max()) + 1))
    total = domains + by_class
    return 1 - domains / total if total > 0 else 0.5
