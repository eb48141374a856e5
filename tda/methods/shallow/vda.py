"""VDA: visual domain adaptation via transfer feature learning."""

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from tda.methods.shallow.jda import JDA, Axes, axes


class VDA(JDA):
    """JDA whose components also keep each class of the source together ::

        max_W  tr( (W'(X'M X + S_w / |S_w|_F + lam I) W)^-1 W'X'H X W ),   Z = X W
        S_w = sum_c sum_{i in c} (xs_i - mean_c)(xs_i - mean_c)'

    with M of the guessed classes as in JDA, and columns of W of 2-norm 1. S_w does not change with the guesses:
    with A A' = (I + S_w / (lam |S_w|_F))^-1, from a Cholesky factor, and W = A U, the problem in U is JDA's, of the
    features X A.

    Parameters
    ----------
    classifier, kernel, dim, lam, gamma, iterations, unit_mmd, unit_rows
        As in `tda.methods.shallow.jda.JDA`. The published average is met with M as it is, `unit_mmd` false;
        single tasks are not.

    Attributes
    ----------
    components_ : ndarray of shape (d, dim), or (n, dim) with the RBF kernel
        What a sample's features, or its similarities to the fitted samples, are multiplied by.

    Raises
    ------
    ValueError
        The data vary in fewer than `dim` directions.

    References
    ----------
    J. Tahmoresnezhad and S. Hashemi, "Visual domain adaptation via transfer feature learning", Knowledge and
    Information Systems 50, 2017. The scale of S_w is that of the public code which follows the paper.
    """

    def _axes(self, K: np.ndarray, classes: np.ndarray) -> Axes:
        n, m = K.shape
        change, F = super()._axes(K, classes)[:2] if self.kernel == "linear" or n < m else (None, K)
        source = F[: len(classes)]
        means = np.stack([source[classes == c].mean(axis=0) for c in range(int(classes.max()) + 1)])
        within = source - means[classes]
        scatter = within.T @ within
        scatter /= (np.linalg.norm(scatter) or 1.0) * self.lam
        scatter[np.diag_indices_from(scatter)] += 1
        L = cholesky(scatter, lower=True, overwrite_a=True)
        R, F, energy = axes(solve_triangular(L, F.T, lower=True).T, linear=False)
        self.back_ = solve_triangular(L, R, lower=True, trans="T")
        return Axes(self.back_ if change is None else change @ self.back_, F, energy)

    def _columns(self, W: np.ndarray) -> np.ndarray:
        """Scale the columns of A W to 2-norm 1."""
        scaled: np.ndarray = W / np.linalg.norm(self.back_ @ W, axis=0)
        return scaled
