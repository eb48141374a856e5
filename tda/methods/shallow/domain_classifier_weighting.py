"""DomainClassifierWeighting: importance weights from the odds of a classifier of the domains."""

import numpy as np
from pydantic import PositiveFloat
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression

from tda.divergences.density_ratio import CLOSELY
from tda.methods.shallow.base import Reweighter, ShallowMethod


class DomainClassifierWeighting(Reweighter):
    """Weigh each source sample by the density ratio that a logistic classifier of the domains implies ::

        weights_i = p_t(xs_i) / p_s(xs_i) = ns/nt  P(target | xs_i) / P(source | xs_i) = ns/nt exp(w'xs_i + b)
        min_{w, b}  1/2 ||w||^2 + C sum_i log(1 + exp(-r_i (w'x_i + b))),   r_i = 1 in the target, -1 in the source

    and then divided by their mean, which is 1 for a density ratio: so the weighted classifier's C keeps its meaning.
    Where the domains are surely told apart, nearly all the weight falls on a few samples; a smaller C of the classifier
    of the domains keeps the weights even.

    Parameters
    ----------
    classifier : ShallowMethod
        A classifier whose ``fit`` honours `weights`.
    C : float
        Weight of the likelihood against the norm of w.

    Attributes
    ----------
    model_ : sklearn.linear_model.LogisticRegression
    weights_ : ndarray of shape (ns,)
        Of mean 1.

    References
    ----------
    S. Bickel, M. Brueckner and T. Scheffer, "Discriminative learning under covariate shift", Journal of Machine
    Learning Research 10, 2009, section 4 (the two-stage approximation); M. Sugiyama, T. Suzuki and T. Kanamori,
    "Density ratio estimation in machine learning", Cambridge University Press, 2012, section 4.1.
    """

    def __init__(self, *, classifier: ShallowMethod, C: PositiveFloat = 1.0) -> None:
        super().__init__(classifier=classifier)
        self.C = C

    def weigh(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray) -> np.ndarray:
        ns, nt = len(Xs), len(Xt)
        X = np.concatenate([Xs, Xt]).astype(np.float64, copy=False)
        self.model_ = LogisticRegression(C=self.C, **CLOSELY)
        self.model_.fit(X, np.repeat([0, 1], [ns, nt]))
        weights: np.ndarray = ns * softmax(self.model_.decision_function(X[:ns]))
        return weights
