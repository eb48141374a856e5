"""Validators: how good a classifier is on the target, guessed without the target's labels. Greater is better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import svdvals
from scipy.special import entr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tda.divergences.density_ratio import CLOSELY, density_ratio
from tda.divergences.information import prediction_information

BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Candidate:
    """What validators see of a classifier: of one step of a run, or of one setting of a method.

    Attributes
    ----------
    source : ndarray of shape (ns, d)
        Features of the source samples that it was trained on.
    held : ndarray of shape (nv, d)
        Features of source samples that it was not trained on.
    held_y : ndarray of shape (nv,)
        Their classes.
    losses : ndarray of shape (nv,)
        Its loss on each: the cross-entropy, or 0 and 1 where it gives no probabilities.
    target : ndarray of shape (nt, d)
        Features of the target samples.
    P : ndarray of shape (nt, C), optional
        The probabilities of the classes of each; None where it gives none.
    few : tuple of ndarray, optional
        Rows of `target` whose classes are known, and these classes. `trcv` alone looks at them.
    """

    source: np.ndarray
    held: np.ndarray
    held_y: np.ndarray
    losses: np.ndarray
    target: np.ndarray
    P: np.ndarray | None = None
    few: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def weights(self) -> np.ndarray:
        """The density ratio target / source of each held-out sample, (nv,)."""
        return density_ratio(self.source, self.target, self.held)


def source_risk(losses: np.ndarray) -> float:
    """Return minus the mean loss on held-out source samples: right where nothing shifts.

    Parameters
    ----------
    losses : ndarray of shape (n,)
    """
    return -float(np.mean(losses))


def iwcv(losses: np.ndarray, weights: np.ndarray) -> float:
    """Return minus the importance-weighted validation risk, 1/n sum_i w(x_i) l_i.

    Under covariate shift it is an unbiased estimate of the target's risk. The paper weighs by the densities of the
    inputs; those of images cannot be estimated, and the weights given here are of the network's features, as for
    `dev`, from which it differs by the control variate alone.

    Parameters
    ----------
    losses : ndarray of shape (n,)
        Of held-out source samples.
    weights : ndarray of shape (n,)
        Their density ratios, target over source.

    References
    ----------
    M. Sugiyama, M. Krauledat, K.-R. Mueller. Covariate shift adaptation by importance weighted cross validation.
    Journal of Machine Learning Research 8, 2007, section 3.

    Examples
    --------
    >>> iwcv(np.array([1.0, 0.0]), np.array([3.0, 1.0]))
    -1.5
    """
    return -float(np.mean(weights * losses))


def dev(losses: np.ndarray, weights: np.ndarray) -> float:
    """Return minus the risk of deep embedded validation: IWCV's, with the weights themselves as a control variate ::

        R = mean(w l) + eta (mean(w) - 1),   eta = -Cov(w l, w) / Var(w)

    The mean of a density ratio is 1, so that the second term is 0 in expectation, and eta is what makes the variance
    of R least. Constant weights vary with nothing, and eta is then 0.

    Parameters
    ----------
    losses : ndarray of shape (n,)
        Of held-out source samples.
    weights : ndarray of shape (n,)
        Their density ratios, target over source.

    References
    ----------
    K. You, X. Wang, M. Long, M. I. Jordan. Towards accurate model selection in deep unsupervised domain adaptation.
    ICML 2019, section 4 and algorithm 1.

    Examples
    --------
    >>> dev(np.array([1.0, 1.0, 1.0]), np.array([4.0, 1.0, 1.0]))  # the loss is 1 whatever the weights
    -1.0
    """
    weighted = weights * losses
    centred = weights - weights.mean()
    variance = float(np.mean(centred**2))
    rounding = (16 * np.finfo(float).eps * np.abs(weights).max()) ** 2  # the variance that constant weights may show
    eta = -float(np.mean((weighted - weighted.mean()) * centred)) / variance if variance > rounding else 0.0
    return -float(weighted.mean() + eta * (weights.mean() - 1))


def trcv(likelihood: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Return minus the risk of transfer cross-validation, 1/n sum_i w(x_i) |Pt(y_i|x_i) - P(y_i|x_i)|.

    It needs an estimate of the target's conditional distribution Pt, and so target labels.

    Parameters
    ----------
    likelihood : ndarray of shape (n,)
        P(y_i|x_i), what the classifier gives to the class of each held-out source sample.
    truth : ndarray of shape (n,)
        Pt(y_i|x_i), what the target would give to it.
    weights : ndarray of shape (n,)
        Density ratios, target over source.

    References
    ----------
    E. Zhong, W. Fan, Q. Yang, O. Verscheure, J. Ren. Cross validation framework to choose amongst models and datasets
    for transfer learning. ECML PKDD 2010, section 2.
    """
    return -float(np.mean(weights * np.abs(truth - likelihood)))


def target_conditional(X: np.ndarray, y: np.ndarray, at: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return Pt(y|x) of a logistic regression on few labelled target samples; 0 for a class that they lack.

    Of samples of one class it is 1.

    Parameters
    ----------
    X : ndarray of shape (m, d)
        Labelled target samples, and their classes `y` (m,).
    at : ndarray of shape (n, d)
        Where to evaluate it, for the class in `classes` (n,).
    """
    if (y == y[0]).all():
        return np.where(classes == y[0], 1.0, 0.0)
    scaler = StandardScaler().fit(X)
    fitted = LogisticRegression(**CLOSELY).fit(scaler.transform(X), y)
    P = fitted.predict_proba(scaler.transform(at))
    column = np.searchsorted(fitted.classes_, classes).clip(max=len(fitted.classes_) - 1)
    known = fitted.classes_[column] == classes
    return np.where(known, P[np.arange(len(at)), column], 0.0)


def entropy(P: np.ndarray) -> float:
    """Return minus the mean entropy of the predictions, -1/n sum_i H(P_i), in nats: 0 where all are certain.

    Parameters
    ----------
    P : ndarray of shape (n, C)
        The probabilities of the classes of each target sample.

    References
    ----------
    P. Morerio, J. Cavazza, V. Murino. Minimal-entropy correlation alignment for unsupervised deep domain adaptation.
    ICLR 2018, where the entropy chooses the weight of the alignment.
    """
    return -float(np.mean(np.sum(entr(P), axis=1)))


def snd(P: np.ndarray, *, temperature: float = 0.05) -> float:
    """Return the soft neighbourhood density: the mean entropy of each sample's similarities to all others ::

        S_ij = p_i'p_j,   Q_ij = exp(S_ij / T) / sum_{k != i} exp(S_ik / T)
        SND = -1/n sum_i sum_{j != i} Q_ij log Q_ij

    with p_i the predictions P_i divided by their norm. It is large where every sample has many neighbours that are
    equally near: dense clusters. One single cluster is densest of all: predicting one class for everything is best.

    Parameters
    ----------
    P : ndarray of shape (n, C)
        The probabilities of the classes of each target sample; two samples at least.
    temperature : float
        T.

    References
    ----------
    K. Saito, D. Kim, P. Teterwak, S. Sclaroff, T. Darrell, K. Saenko. Tune it the right way: unsupervised validation
    of domain adaptation via soft neighborhood density. ICCV 2021, equations 1 to 3.
    """
    unit = P / np.linalg.norm(P, axis=1, keepdims=True)
    total = 0.0
    for start in range(0, len(P), BLOCK):
        S = unit[start : start + BLOCK] @ unit.T / temperature
        S[np.arange(len(S)), start + np.arange(len(S))] = -np.inf
        S -= S.max(axis=1, keepdims=True)
        Q = np.exp(S)
        total += float(np.sum(entr(Q / Q.sum(axis=1, keepdims=True))))
    return total / len(P)


def corr_c(P: np.ndarray) -> float:
    """Return the cosine of the classes' correlation P'P and the identity, tr(P'P) / (sqrt(C) ||P'P||_F), in (0, 1].

    1 is for certain predictions that use all classes evenly. (Some comparisons read the same number the other way
    round, the least as the best; its authors do not.)

    Parameters
    ----------
    P : ndarray of shape (n, C)
        The probabilities of the classes of each target sample.

    References
    ----------
    W. Tu, W. Deng, L. Zheng, T. Gedeon. What does softmax probability tell us about classifiers ranking across diverse
    test conditions? TMLR 2024 (SoftmaxCorr; Corr-C in D. Hu et al., NeurIPS 2023).

    Examples
    --------
    >>> round(corr_c(np.eye(4)), 6), round(corr_c(np.full((4, 4), 0.25)), 6)
    (1.0, 0.5)
    """
    correlation = P.T @ P
    return float(np.trace(correlation) / (np.sqrt(P.shape[1]) * np.linalg.norm(correlation)))


def bnm(P: np.ndarray) -> float:
    """Return the nuclear norm of the predictions over its upper bound where n >= C, ||P||_* / sqrt(n C), in (0, 1].

    The score is the loss of `tda.methods.deep.bnm.BNM`, over the whole target instead of a batch.

    Parameters
    ----------
    P : ndarray of shape (n, C)
        The probabilities of the classes of each target sample.

    References
    ----------
    S. Cui et al. Towards discriminability and diversity: batch nuclear-norm maximization under label insufficient
    situations. CVPR 2020, equation 9; as a validator: K. Musgrave, S. Belongie, S.-N. Lim. Benchmarking validation
    methods for unsupervised domain adaptation. arXiv 2208.07360, 2022.
    """
    return float(svdvals(P).sum() / np.sqrt(P.size))


def rankme(Z: np.ndarray) -> float:
    """Return the effective rank of features, exp(H(p)) with p_k = s_k / sum_j s_j of their singular values s.

    Proposed for self-supervised features on what they were trained on; here it is of the target's features.

    Parameters
    ----------
    Z : ndarray of shape (n, d)

    References
    ----------
    Q. Garrido, R. Balestriero, L. Najman, Y. LeCun. RankMe: assessing the downstream performance of pretrained
    self-supervised representations by their rank. ICML 2023, equation 1; O. Roy, M. Vetterli. The effective rank.
    EUSIPCO 2007.

    Examples
    --------
    >>> round(rankme(np.eye(5)), 6), round(rankme(np.ones((5, 3))), 6)
    (5.0, 1.0)
    """
    s = svdvals(Z)
    total = s.sum()
    return float(np.exp(np.sum(entr(s / total)))) if total > 0 else 1.0


def of_held_out(function: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Candidate], float]:
    """Make a validator of a function of losses and weights."""
    return lambda seen: function(seen.losses, seen.weights)


def of_predictions(function: Callable[[np.ndarray], float]) -> Callable[[Candidate], float | None]:
    """Make a validator of a function of the target's class probabilities; None where there are none."""
    return lambda seen: None if seen.P is None else function(seen.P)


def of_few_labels(seen: Candidate) -> float | None:
    """Return the score of `trcv`, from the few target samples whose classes are known; None without them."""
    if seen.few is None or seen.P is None:
        return None
    rows, y = seen.few
    truth = target_conditional(seen.target[rows], y, seen.held, seen.held_y)
    return trcv(np.exp(-seen.losses), truth, seen.weights)


VALIDATORS: Mapping[str, Callable[[Candidate], float | None]] = {
    "source_risk": lambda seen: source_risk(seen.losses),
    "iwcv": of_held_out(iwcv),
    "dev": of_held_out(dev),
    "trcv": of_few_labels,
    "entropy": of_predictions(entropy),
    "infomax": of_predictions(prediction_information),
    "snd": of_predictions(snd),
    "corr_c": of_predictions(corr_c),
    "bnm": of_predictions(bnm),
    "rankme": lambda seen: rankme(seen.target),
}
