"""How far apart a method leaves the domains: the columns that ``distances=[...]`` adds to a table."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import expm1, isfinite

import numpy as np

from tda.divergences.information import gaussian_js, gaussian_kl
from tda.divergences.mmd import mk_mmd2, mmd2
from tda.divergences.moments import cmd, coral_distance
from tda.divergences.proxy import a_distance
from tda.divergences.subspace import principal_subspace, principal_vectors
from tda.divergences.transport import sliced_wasserstein, wasserstein
from tda.errors import UsageError, unknown

log = logging.getLogger(__name__)
ANGLES = 10  # dimension of the two subspaces that are compared, less where the samples vary in fewer directions


def domain_hsic(Xs: np.ndarray, Xt: np.ndarray) -> float:
    r"""Return the HSIC of the samples of both domains and which domain they are from, in memory that is linear in n.

    With the kernel :math:`\exp(-(a - b)^2)` of the domains 0 and 1, :math:`HLH = 2 (1 - e^{-1}) z z^\top` for the
    centred indicator z of a domain, and :math:`z^\top K z = (n_s n_t / n)^2 \mathrm{MMD}^2`: the biased HSIC is

    .. math:: 2 (1 - e^{-1}) \left(\frac{n_s n_t}{n (n - 1)}\right)^2 \mathrm{MMD}^2.
    """
    ns, nt = len(Xs), len(Xt)
    share = ns * nt / ((ns + nt) * (ns + nt - 1))
    return 2 * -expm1(-1) * share**2 * mmd2(Xs, Xt)


def mean_angle(Xs: np.ndarray, Xt: np.ndarray) -> float:
    """Return the mean principal angle, in degrees, of the leading principal subspaces of both domains."""
    bases = [principal_subspace(X, ANGLES, fewer=True).basis for X in (Xs, Xt)]
    dim = min(basis.shape[1] for basis in bases)
    if dim == 0:
        raise ValueError("the samples of a domain are all alike, and have no principal subspace")
    return float(np.degrees(np.mean(principal_vectors(*(basis[:, :dim] for basis in bases)).angles)))


MEASURES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "a_distance": a_distance,
    "mmd2": mmd2,
    "mk_mmd2": mk_mmd2,
    "coral": coral_distance,
    "cmd": cmd,
    "kl": gaussian_kl,
    "js": gaussian_js,
    "hsic": domain_hsic,
    "angle": mean_angle,
    "wasserstein": wasserstein,
    "sliced_wasserstein": sliced_wasserstein,
}


def check(names: Sequence[str]) -> None:
    """Raise `UsageError` for the first name that is no measure, or that stands there twice."""
    for at, name in enumerate(names):
        if name not in MEASURES:
            raise unknown("distance", name, MEASURES)
        if name in names[:at]:
            raise UsageError(f"distances names {name!r} twice; leave one of them out")


def measured(names: Sequence[str], Xs: np.ndarray, Xt: np.ndarray) -> dict[str, float]:
    """Return the distances of these names between source samples (ns, d) and target samples (nt, d).

    One that these samples do not have, the collapsed features of a network say, is left out with a warning: it is no
    failure of the method.
    """
    found = {}
    for name in names:
        try:
            value = float(MEASURES[name](Xs, Xt))
        except (ValueError, MemoryError, RuntimeError) as problem:
            log.warning("distance %s is left out: %s", name, problem)
            continue
        if isfinite(value):
            found[name] = value
        else:
            log.warning("distance %s is left out: it is %s", name, value)
    return found
