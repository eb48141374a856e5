"""MEDA: manifold embedded distribution alignment."""

from typing import Literal, Self

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from sklearn.preprocessing import normalize

from tda.divergences.kernels import Kernel
from tda.divergences.subspace import principal_subspace
from tda.methods.shallow.artl import ARTL
from tda.methods.shallow.base import ShallowMethod
from tda.methods.shallow.bda import balance
from tda.methods.shallow.gfk import flow_factor
from tda.methods.shallow.jda import conditional, marginal
from tda.ranges import Share


class MEDA(ARTL):
    """ARTL on the features of the geodesic flow kernel, with the balance of means and classes estimated ::

        min_f  sum_{i <= ns} ||y_i - f(z_i)||^2 + eta ||f||^2 + lam tr(F'M F) + rho tr(F'L F),    z = sqrt(G) x
        M = ((1 - mu) C M_0 + mu sum_c M_c) / ||.||_F

    with G the geodesic flow kernel, and mu = 1 - d / (d + sum_c d_c) of the A-distances d of the domains and d_c of
    each class, estimated anew in each iteration from the target's classes as the previous one guessed them.
    What is done with z depends on the products z'z = x'G x alone, so any factor of G serves for its root.

    Parameters
    ----------
    classifier : ShallowMethod
        Guesses the target's classes before the first iteration; 1-NN in the authors' code.
    dim : int
        Dimension of the subspaces between which the geodesic runs; the paper's d.
    mu : float in [0, 1], or "a_distance"
        0 matches the domains' means only, 1 the classes only.
    kernel : {"rbf", "linear"}
    gamma : float, optional
        Of exp(-gamma ||x - y||^2); None is 1 / (2 median ||x - y||^2) over both domains together.
    eta : float
        Weight of the norm of f.
    lam : float
        Weight of the discrepancy; the paper's lambda.
    rho : float
        Weight of the smoothness over the graph of neighbours.
    neighbours : int
        Of each sample in the graph; the paper's p.
    iterations : int
        The paper's T, at most: the end is where no guess changes any more.
    unit_input : bool
        Scale each sample to 2-norm 1 before the map, as is the custom with digits.
    unit_rows : bool
        Scale each sample to 2-norm 1 after the map, as the authors do.

    Attributes
    ----------
    factor_ : ndarray of shape (d, 2 dim)
        L of G = L L': L'x stands for sqrt(G) x.
    mu_ : float
        The balance in use in the last iteration.

    Raises
    ------
    ValueError
        A domain varies in fewer than `dim` directions.
    UsageError
        `fit` is given weights.

    References
    ----------
    J. Wang, W. Feng, Y. Chen, H. Yu, M. Huang and P. S. Yu, "Visual domain adaptation with manifold embedded
    distribution alignment", ACM Multimedia 2018, equations 5 to 13 and Algorithm 1. (The authors' code takes the
    mean of the d_c where the paper has their sum. Its earlier estimate_mu.m measures each against the target's first
    class, a later one against the class itself.)
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 20,
        mu: Share | Literal["a_distance"] = "a_distance",
        kernel: Kernel = "rbf",
        gamma: PositiveFloat | None = 0.5,
        eta: PositiveFloat = 0.1,
        lam: NonNegativeFloat = 10.0,
        rho: NonNegativeFloat = 1.0,
        neighbours: PositiveInt = 10,
        iterations: PositiveInt = 10,
        unit_input: bool = False,
        unit_rows: bool = True,
    ) -> None:
        super().__init__(
            classifier=classifier,
            kernel=kernel,
            gamma=gamma,
            sigma=eta,
            lam=lam,
            rho=rho,
            neighbours=neighbours,
            iterations=iterations,
            unit_rows=unit_rows,
        )
        self.dim = dim
        self.mu = mu
        self.unit_input = unit_input

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        Us, Ut = self._input(Xs), self._input(Xt)
        self.factor_ = flow_factor(*(principal_subspace(U, self.dim).basis for U in (Us, Ut)))
        return super().fit(Us @ self.factor_, ys, Ut @ self.factor_, weights)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return super().predict(self._input(X) @ self.factor_)

    def _input(self, X: np.ndarray) -> np.ndarray:
        X64 = X.astype(np.float64, copy=False)
        unit: np.ndarray = normalize(X64) if self.unit_input else X64
        return unit

    def _discrepancy(self, X: np.ndarray, classes: np.ndarray, guesses: np.ndarray) -> np.ndarray:
        self.mu_ = balance(X, classes, guesses) if isinstance(self.mu, str) else self.mu
        means = marginal(len(classes), len(guesses))[:, None] * np.sqrt((1 - self.mu_) * len(self.classes_))
        return np.hstack([means, np.sqrt(self.mu_) * conditional(classes, guesses)])
