"""SA: subspace alignment."""

import numpy as np
from pydantic import PositiveInt

from tda.divergences.subspace import principal_subspace
from tda.methods.shallow.base import Aligner, ShallowMethod


class SA(Aligner):
    """Turn the principal axes of the source to those of the target ::

        M = argmin ||Ps M - Pt||_F^2 = Ps'Pt,   Zs = Xs Ps M,   Zt = Xt Pt

    with Ps, Pt (d, dim) the leading principal components of the domains. The features of each domain are
    centred by its own mean: the paper's are standardised, so that theirs are 0. The unsupervised "CA" of the notes on
    one-shot adaptation of deep features (Hoffman et al., 2013) is, by its formula, this method on such features.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the aligned source; 1-NN or a support vector machine in the paper.
    dim : int
        Dimension of the subspaces. The paper chooses it by cross-validation on the source's labels.

    Attributes
    ----------
    source_, target_ : Subspace
        Principal components and variances of each domain.

    Raises
    ------
    ValueError
        A domain varies in fewer than `dim` directions.

    References
    ----------
    B. Fernando, A. Habrard, M. Sebban and T. Tuytelaars, "Unsupervised visual domain adaptation using subspace
    alignment", ICCV 2013, equations 1 to 3 and Algorithm 1.

    Examples
    --------
    >>> from tda.methods.shallow.one_nn import OneNN
    >>> rng = np.random.default_rng(0)
    >>> Xs, turn = rng.normal(size=(50, 3)) * [5, 2, 1], np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1]])
    >>> Zs, Zt = SA(classifier=OneNN(), dim=3).align(Xs, np.zeros(50), Xs @ turn + 7)
    >>> bool(np.allclose(np.abs(Zt), np.abs((Xs - Xs.mean(axis=0)) @ principal_subspace(Xs, 3).basis)))
    True
    """

    def __init__(self, *, classifier: ShallowMethod, dim: PositiveInt = 30) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.source_, self.target_ = principal_subspace(Xs, self.dim), principal_subspace(Xt, self.dim)
        self.mean_ = Xt.mean(axis=0, dtype=np.float64)
        Ps = self.source_.basis
        M = Ps.T @ self.target_.basis
        return (Xs - Xs.mean(axis=0, dtype=np.float64)) @ Ps @ M, self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = (X - self.mean_) @ self.target_.basis
        return Z
