"""DLID: interpolating between domains."""

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from tda.divergences.subspace import principal_subspace
from tda.methods.shallow.base import Aligner, ShallowMethod
from tda.ranges import AtLeastTwo


class DLID(Aligner):
    """Learn features on data sets that pass from the source to the target step by step, and keep all of them ::

        z(x) = [F_1(x); ...; F_P(x)],   F_p(x) = W_p'(x - m_p) learnt without labels on D_p

    where D_1 is the source, D_P the target, and D_p between them is drawn at random, a share (p - 1) / (P - 1)
    of it from the target and the rest from the source; it has as many samples as the smaller domain.

    This is the method in its linear form, on features that are given: the paper's extractors F_p are layers of
    predictive sparse decomposition, which learns the encoder and the decoder of least reconstruction error under
    a sparse code. For a linear encoder without the sparsity that optimum is spanned by the leading principal
    components of D_p, which are taken here.

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the concatenated features of the source.
    dim : int
        Number of features of each extractor.
    steps : int
        P, both ends included.
    seed : int
        Of the draws.

    Attributes
    ----------
    projection_ : ndarray of shape (d, P dim)
        The W_p side by side.
    offset_ : ndarray of shape (P dim,)
        The W_p'm_p.

    Raises
    ------
    ValueError
        A data set varies in fewer than `dim` directions.

    References
    ----------
    S. Chopra, S. Balakrishnan and R. Gopalan, "DLID: Deep learning for domain adaptation by interpolating
    between domains", ICML Workshop on Challenges in Representation Learning 2013, sections 2.1 to 2.3.
    """

    def __init__(
        self,
        *,
        classifier: ShallowMethod,
        dim: PositiveInt = 20,
        steps: AtLeastTwo = 8,
        seed: NonNegativeInt = 0,
    ) -> None:
        super().__init__(classifier=classifier)
        self.dim = dim
        self.steps = steps
        self.seed = seed

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = min(len(Xs), len(Xt))
        draw = np.random.default_rng(self.seed)
        path = [Xs]
        for share in np.linspace(0, 1, self.steps)[1:-1]:
            taken = round(share * size)
            rows = draw.permutation(len(Xs))[: size - taken], draw.permutation(len(Xt))[:taken]
            path.append(np.concatenate([Xs[rows[0]], Xt[rows[1]]]))
        path.append(Xt)
        bases = [principal_subspace(D, self.dim).basis for D in path]
        self.projection_ = np.hstack(bases)
        means = [D.mean(axis=0, dtype=np.float64) @ W for D, W in zip(path, bases, strict=True)]
        self.offset_ = np.concatenate(means)
        return self.transform(Xs), self.transform(Xt)

    def transform(self, X: np.ndarray) -> np.ndarray:
        Z: np.ndarray = X.astype(np.float64, copy=False) @ self.projection_ - self.offset_
        return Z
