"""SDA: subspace distribution alignment."""

import numpy as np

from tda.methods.shallow.sa import SA


class SDA(SA):
    """Align the principal axes as SA does, and the variances along them too ::

        Zs = Xs Ps T A,   T = Ps'Pt,   A = Es^(-1/2) Et^(1/2),   Zt = Xt Pt

    with Es, Et the diagonal matrices of the variances of the source and the target along their principal
    components Ps, Pt (d, dim). Both factors of A act after T, along the target's axes: there the source's m-th
    standard deviation, though it is of its own m-th axis, is divided out and the target's multiplied in.
    (Not to be confused with the stacked denoising autoencoder, also called SDA.)

    Parameters
    ----------
    classifier : ShallowMethod
        Learns from the aligned source; a support vector machine in the paper.
    dim : int
        Dimension of the subspaces.

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
    B. Sun and K. Saenko, "Subspace distribution alignment for unsupervised domain adaptation", BMVC 2015,
    section 3.
    """

    def align(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Zs, Zt = super().align(Xs, ys, Xt)
        return Zs * np.sqrt(self.target_.variances / self.source_.variances), Zt
