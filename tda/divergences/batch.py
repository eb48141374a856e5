"""Discrepancies of two batches as losses: differentiable, in float32 whatever the precision around them."""

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce, wraps
from typing import Any, Literal, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Typical = Literal["mean", "median"]
P = ParamSpec("P")


def in_float32(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Compute `loss` without autocast and on float32 copies of its tensors: kernels of bfloat16 are too coarse."""

    @wraps(loss)
    def computed(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        real = [a for a in args if isinstance(a, Tensor) and a.is_floating_point()]
        device = real[0].device.type
        if not torch.is_autocast_enabled(device) and all(a.dtype == torch.float32 for a in real):
            return loss(*args, **kwargs)
        exact = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in args]
        with torch.autocast(device, enabled=False):
            return loss(*exact, **kwargs)  # type: ignore[arg-type]

    return computed


@in_float32
def squared_distances(Z: Tensor) -> Tensor:
    """Return ||z_i - z_j||^2 of the rows of Z (n, d): (n, n), as ||z_i||^2 + ||z_j||^2 - 2 z_i'z_j.

    Rows are centred first, which changes no distance and keeps the difference exact where all rows lie far from 0.
    """
    Z = Z - Z.detach().mean(0)
    lengths = (Z * Z).sum(1)
    return (lengths[:, None] + lengths - 2 * Z @ Z.T).clamp_min(0)


@in_float32
def product_distances(X: Tensor, Y: Tensor) -> Tensor:
    """Return ||x_i (x) y_i - x_j (x) y_j||^2 of tensor products of rows, (n, d) and (n, c): (n, n); none is formed.

    <x (x) y, x' (x) y'> = <x, x'> <y, y'>.
    """
    G = (X @ X.T) * (Y @ Y.T)
    lengths = G.diagonal()
    return (lengths[:, None] + lengths - 2 * G).clamp_min(0)


def gaussians(D: Tensor, kernels: int, *, width: float | None = None, typical: Typical = "mean") -> list[Tensor]:
    """Return exp(-D / (2^u w)) for `kernels` consecutive integers u around 0, widest first.

    Each kernel is the square of the one before, so that one exponential is taken however many there are.

    Parameters
    ----------
    D : Tensor
        Squared distances, of any shape; a square matrix, and each of a stack, counts as those of all pairs, and its w
        leaves the diagonal aside.
    kernels : int
        5 gives widths w/4, w/2, w, 2w and 4w.
    width : float, optional
        w; None is the mean or the median (`typical`) of D, through which no gradient flows.
    typical : {"mean", "median"}

    Examples
    --------
    >>> [round(float(k[0]), 3) for k in gaussians(torch.tensor([2.0]), 3, width=1.0)]
    [0.368, 0.135, 0.018]
    """
    w = _typical(D.detach(), typical) if width is None else width
    found = [torch.exp(-D / (w * 2.0 ** (kernels - 1 - kernels // 2)))]
    while len(found) < kernels:
        found.append(found[-1] * found[-1])
    return found


def mixture(D: Tensor, kernels: int, *, width: float | None = None, typical: Typical = "mean") -> Tensor:
    """Return the sum of the kernels of `gaussians`."""
    return reduce(torch.add, gaussians(D, kernels, width=width, typical=typical))


@in_float32
def contrast(K: Tensor, weights: Tensor) -> Tensor:
    """Return sum_ij w_i K_ij w_j: a squared distance of means where w is positive on one sample, negative on the other.

    K is (n, n); weights (n,) give a scalar, (n, c) give (c,), a value for each column.
    """
    return (weights * (K @ weights)).sum(0)


class KernelSum(torch.autograd.Function):
    """sum_ij W_ij k(z_i, z_j), k as in `mixture`, added up over layers, with the slopes found along with the value.

    The slope by z_i is 4 sum_j W_ij k'_ij (z_i - z_j), k' the derivative of k by the squared distance: a row of a
    Laplacian times Z. All layers share a dozen small operations in place, where a graph has sixty for each. It cannot
    be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, W: Tensor, kernels: int, typical: Typical, *layers: Tensor) -> Tensor:
        """Return the sum for symmetric weights W (n, n) and each layer's Z (n, d)."""
        centred = [Z - Z.mean(0) for Z in layers]
        G = torch.stack([torch.mm(Z, Z.T) for Z in centred])
        lengths = G.diagonal(dim1=1, dim2=2)
        D = torch.add(lengths.unsqueeze(2), lengths.unsqueeze(1)).sub_(G, alpha=2).clamp_min_(0)
        widest = _typical(D, typical).mul_(-(2.0 ** (kernels - 1 - kernels // 2)))  # its width, negative
        one = D.div_(widest).exp_()
        K, steepness = one.clone(), -4 * one  # steepness is -4 k' widest
        for power in range(1, kernels):
            one.square_()
            K += one
            steepness.add_(one, alpha=-4 * 2.0**power)
        laplacians = steepness.mul_(W).div_(widest)
        laplacians.diagonal(dim1=1, dim2=2).sub_(laplacians.sum(2))
        by_weights = K.sum(0) if ctx.needs_input_grad[0] else None
        ctx.save_for_backward(by_weights, *map(torch.mm, laplacians, centred))
        return K.mul_(W).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        """Return the slopes by W and the layers, times `weight`."""
        by_weights, *by_layers = (
            weight * slope if asked else None
            for slope, asked in zip(ctx.saved_tensors, ctx.needs_input_grad[:1] + ctx.needs_input_grad[3:], strict=True)
        )
        return by_weights, None, None, *by_layers


@in_float32
def kernel_sum(W: Tensor, *layers: Tensor, kernels: int, typical: Typical = "mean") -> Tensor:
    """Return sum_ij W_ij k(z_i, z_j) of the rows of Z, k as in `mixture`, added up over the layers' Z (n, d).

    The weights W (n, n) are symmetric.
    """
    found: Tensor = KernelSum.apply(W, kernels, typical, *layers)
    return found


def uniform(source: Tensor, target: Tensor) -> Tensor:
    """Return the weights of the difference of two means: 1/ns for each source row, -1/nt for each target row."""
    return signed_shares(len(source), len(target), source.device)


@lru_cache(maxsize=16)
def signed_shares(ns: int, nt: int, device: torch.device) -> Tensor:
    """Return 1/ns, ns times, then -1/nt, nt times: the same tensor for every batch of these sizes, to be read only."""
    return torch.tensor([1 / ns] * ns + [-1 / nt] * nt, dtype=torch.float32, device=device)


def uniform_pairs(source: Tensor, target: Tensor) -> Tensor:
    """Return the outer product of `uniform` with itself: the weights of the pairs in the squared difference."""
    return shares_of_pairs(len(source), len(target), source.device)


@lru_cache(maxsize=2)
def shares_of_pairs(ns: int, nt: int, device: torch.device) -> Tensor:
    """Return the outer product of `signed_shares` with itself, to be read only."""
    signed = signed_shares(ns, nt, device)
    return torch.outer(signed, signed)


@in_float32
def mmd2(
    source: Tensor,
    target: Tensor,
    *,
    kernels: int = 5,
    typical: Typical = "mean",
    weights: Tensor | None = None,
) -> Tensor:
    """Return the (biased) squared MMD of batches (ns, d) and (nt, d) with the sum of Gaussian kernels, never negative.

    Parameters
    ----------
    source, target : Tensor
    kernels, typical
        See `gaussians`; widths are multiples of the typical squared distance over both batches together.
    weights : Tensor of shape (ns,), optional
        Not negative: the source's mean becomes the weighted one, sum_i w_i phi(s_i) / sum_i w_i.

    References
    ----------
    M. Long, Y. Cao, J. Wang, M. I. Jordan. Learning transferable features with deep adaptation networks. ICML 2015,
    equations 1 and 2; kernels are summed as in the authors' code. H. Yan et al. Mind the class weight bias. CVPR
    2017, equation 5 (weights).
    """
    if weights is None:
        pairs = uniform_pairs(source, target)
    else:
        signed = torch.cat([weights / weights.sum(), uniform(source, target)[len(source) :]])
        pairs = torch.outer(signed, signed)
    return kernel_sum(pairs, torch.cat([source, target]), kernels=kernels, typical=typical)


@in_float32
def mean_distance2(source: Tensor, target: Tensor) -> Tensor:
    """Return ||mean(source) - mean(target)||^2, the squared MMD with the linear kernel."""
    return (source.mean(0) - target.mean(0)).square().sum()


@in_float32
def class_means(X: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return the mean of the rows of X (n, d) of each class: (classes, d), 0 for a class without rows."""
    members = F.one_hot(labels, classes).float()
    return members.T @ X / members.sum(0).clamp_min(1)[:, None]


@in_float32
def quadruples(source: Tensor, target: Tensor, kernels: int = 5) -> Tensor:
    """Return h_u(i) = k_u(s, s') + k_u(t, t') - k_u(s, t') - k_u(s', t) of consecutive pairs of rows: (kernels, n/2).

    Its mean over i is the unbiased estimate of the squared MMD with kernel u at linear cost; rows without a partner
    are left aside. Widths are multiples of the mean of the distances met, widest first.

    References
    ----------
    A. Gretton et al. A kernel two-sample test. JMLR 13, 2012, lemma 14; M. Long et al., ICML 2015, equation 5.
    """
    n = min(len(source), len(target)) // 2 * 2
    s, t, swapped = source[:n], target[:n], target[:n].view(-1, 2, target.shape[1]).flip(1).flatten(0, 1)
    D = torch.stack([(a - b).square().sum(1) for a, b in (
        (s[::2], s[1::2]), (t[::2], t[1::2]), (s[::2], swapped[::2]), (s[1::2], swapped[1::2]),
    )])  # (4, n/2)  # fmt: skip
    K = torch.stack(gaussians(D.flatten(), kernels)).view(kernels, *D.shape)
    return K[:, 0] + K[:, 1] - K[:, 2] - K[:, 3]


def joint_mmd2(
    source: Sequence[Tensor], target: Sequence[Tensor], *, kernels: Sequence[int], widths: Sequence[float | None]
) -> Tensor:
    """Return the squared MMD with the product over layers of each layer's kernel: of the layers' joint distribution.

    Parameters
    ----------
    source, target : sequence of Tensor
        Activations of each layer l: (ns, d_l) and (nt, d_l).
    kernels, widths
        Of each layer; see `gaussians`.

    References
    ----------
    M. Long, H. Zhu, J. Wang, M. I. Jordan. Deep transfer learning with joint adaptation networks. ICML 2017,
    equations 8 and 9.
    """
    parts = [
        mixture(squared_distances(torch.cat(both)), number, width=width)
        for *both, number, width in zip(source, target, kernels, widths, strict=True)
    ]
    return contrast(reduce(torch.mul, parts), uniform(source[0], target[0]))


@in_float32
def class_weights(ys: Tensor, pt: Tensor) -> Tensor:
    """Return the columns w_c of the difference of the means of class c, source (ns,) against target (nt, C): (n, C).

    A source row weighs 1 / (rows of its class), a target row minus its share of the class's probability. The columns
    of classes that no source row has, or that no target row is most probably of, are zero.
    """
    truth = F.one_hot(ys, pt.shape[1]).float()
    guess = F.one_hot(pt.argmax(1), pt.shape[1]).float()
    met = (truth.sum(0) > 0) & (guess.sum(0) > 0)
    source, target = (Y / Y.sum(0).clamp_min(1e-12) for Y in (truth, pt))
    return torch.cat([source, -target]) * met


@in_float32
def class_pairs(ys: Tensor, pt: Tensor) -> Tensor:
    """Return the mean (n, n) of w_c w_c' over the classes that both batches hold; see `class_weights`."""
    W = class_weights(ys, pt)
    return W @ W.T / (W != 0).any(0).sum().clamp_min(1)


@in_float32
def local_mmd2(source: Tensor, target: Tensor, ys: Tensor, pt: Tensor, *, kernels: int = 5) -> Tensor:
    """Return the squared MMD between the domains class by class, averaged over the classes that both batches hold.

    Parameters
    ----------
    source : Tensor of shape (ns, d)
    target : Tensor of shape (nt, d)
    ys : Tensor of shape (ns,)
        Source classes.
    pt : Tensor of shape (nt, C)
        The target's class probabilities, which weigh its rows.
    kernels : int
        See `gaussians`.

    References
    ----------
    Y. Zhu et al. Deep subdomain adaptation network for image classification. IEEE TNNLS 32, 2021, equations 6 to 8.
    """
    return kernel_sum(class_pairs(ys, pt), torch.cat([source, target]), kernels=kernels)


@in_float32
def coral(source: Tensor, target: Tensor) -> Tensor:
    """Return ||cov(source) - cov(target)||_F^2 / (4 d^2).

    References
    ----------
    B. Sun, K. Saenko. Deep CORAL: correlation alignment for deep domain adaptation. ECCV workshops 2016, equation 1.
    """
    return (source.T.cov() - target.T.cov()).square().sum() / (4 * source.shape[1] ** 2)


@in_float32
def cmd(source: Tensor, target: Tensor, *, order: int = 5) -> Tensor:
    """Return the central moment discrepancy of features in an interval of length 1: norms of differences of moments.

    See `tda.divergences.moments.cmd`, which is the same in double precision. The norms have no gradient at 0; there
    the subgradient 0 is taken.

    References
    ----------
    W. Zellinger et al. Central moment discrepancy for domain-invariant representation learning. ICLR 2017,
    definition 2 and equation 11.
    """
    centred = source - source.mean(0), target - target.mean(0)
    gaps = [source.mean(0) - target.mean(0)]
    gaps += [centred[0].pow(k).mean(0) - centred[1].pow(k).mean(0) for k in range(2, order + 1)]
    return torch.stack([torch.linalg.vector_norm(gap) for gap in gaps]).sum()


@in_float32
def sliced_wasserstein2(source: Tensor, target: Tensor, *, projections: int) -> Tensor:
    """Return the mean of W_2^2 between projections of batches (n, d) and (n, d) on random directions of norm 1.

    On a line the best plan pairs rows in order of size. Both batches have the same number of rows.

    References
    ----------
    C.-Y. Lee, T. Batra, M. H. Baig, D. Ulbricht. Sliced Wasserstein discrepancy for unsupervised domain adaptation.
    CVPR 2019, equation 7.
    """
    directions = F.normalize(torch.randn(source.shape[1], projections, device=source.device), dim=0)
    ordered = [(batch @ directions).sort(dim=0).values for batch in (source, target)]
    return (ordered[0] - ordered[1]).square().mean()


def _typical(D: Tensor, typical: Typical) -> Tensor:
    """Return the mean or median of distances, never 0: a scalar, or (..., 1, 1) of those off diagonals (..., n, n)."""
    n = D.shape[-1]
    if D.shape[-2:] != (n, n):
        found = D.mean() if typical == "mean" else D.median()
    elif typical == "mean":
        found = D.sum((-2, -1), keepdim=True).div_(n * n - n)
    else:
        apart = ~torch.eye(n, dtype=torch.bool, device=D.device)
        found = D[..., apart].median(-1, keepdim=True).values.unsqueeze(-1)
    return found.clamp_min_(1e-12)
