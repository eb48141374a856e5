"""A picture of source and target features in two dimensions, as they came and as a method leaves them."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from tda.cache import atomic

KEPT = 300  # samples of a domain
SIDE = 32  # pixels; greater images are thinned to this
PERPLEXITY = 30.0
LEADING = 50  # principal components that t-SNE sees, as van der Maaten and Hinton take


def keep(
    file: Path,
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
) -> None:
    """Write what a report needs to draw the features of one cell.

    Parameters
    ----------
    file : Path
        The ``.npz`` file: ``domain`` (0 source, 1 target) and ``label``, shape (n,), and ``pca_before``,
        ``pca_after``, ``tsne_before``, ``tsne_after``, float16, shape (n, 2), each scaled into [-1, 1]. At most `KEPT`
        samples of a domain are in it, drawn with a fixed seed.
    before, after : (Xs, Xt)
        Features (ns, d) and (nt, d), or images (ns, h, w[, c]), before and after the method.
    labels : (ys, yt)
        Class indices: they colour the points and decide nothing.

    Raises
    ------
    ValueError
        If a sample is missing from one side, or a value is not finite.

    References
    ----------
    van der Maaten and Hinton, Visualizing data using t-SNE, JMLR 2008.
    """
    rng = np.random.default_rng(0)
    chosen = [np.sort(rng.choice(len(y), min(KEPT, len(y)), replace=False)) for y in labels]
    arrays: dict[str, Any] = {
        "domain": np.repeat([0, 1], [len(i) for i in chosen]).astype(np.uint8),
        "label": np.concatenate([y[i] for y, i in zip(labels, chosen, strict=True)]).astype(np.int32),
    }
    for when, domains in (("before", before), ("after", after)):
        if [len(X) for X in domains] != [len(y) for y in labels]:
            raise ValueError(f"{[len(X) for X in domains]} samples for {[len(y) for y in labels]} labels")
        X = np.concatenate([flat(X[i]) for X, i in zip(domains, chosen, strict=True)])
        if not np.isfinite(X).all():
            raise ValueError("a feature is not a finite number")
        components = leading(X)
        arrays[f"pca_{when}"] = components[:, :2].astype(np.float16)
        arrays[f"tsne_{when}"] = neighbours(components).astype(np.float16)
    with atomic(file) as path, path.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


def flat(X: np.ndarray) -> np.ndarray:
    """Return samples as rows of floats, images thinned to at most `SIDE` pixels a side."""
    if X.ndim > 2:
        X = X[:, :: -(-X.shape[1] // SIDE), :: -(-X.shape[2] // SIDE)]
    return X.reshape(len(X), -1).astype(np.float32)


def leading(X: np.ndarray) -> np.ndarray:
    """Return the first principal components of samples, at most `LEADING`, `scaled`; 0 where all samples are alike."""
    if not np.ptp(X, axis=0).any():
        return np.zeros((len(X), 2))
    return scaled(PCA(min(LEADING, *X.shape), random_state=0).fit_transform(X))


def neighbours(components: np.ndarray) -> np.ndarray:
    """Return points (n, 2) by t-SNE, `scaled`; those that all lie on one place stay there."""
    if not components.any():
        return components
    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    return scaled(TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components))


def scaled(xy: np.ndarray) -> np.ndarray:
    """Return points centred and divided by their greatest coordinate; a single dimension gets a zero beside it.

    Examples
    --------
    >>> scaled(np.array([[0.0], [4.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    xy = np.pad(xy, ((0, 0), (0, max(0, 2 - xy.shape[1]))))
    xy = xy - xy.mean(axis=0)
    return np.asarray(xy / (np.abs(xy).max() or 1.0))
