"""MNIST, USPS and SVHN in torchvision's own files, and what can be made of MNIST with photographs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import NonNegativeInt, PositiveInt
from scipy.ndimage import binary_dilation
from sklearn.datasets import load_sample_images

from tda.data.base import Dataset
from tda.errors import UsageError, unknown
from tda.memory import fingerprint
from tda.task import Domain
from tda.vision import torchvision

SEED = 14097495  # of the patches of photographs
SPLITS = ("train", "test")
Images = tuple[np.ndarray, np.ndarray]  # images (n, h, w) or (n, h, w, 3), and their classes


class RealDigits(Dataset):
    """Pairs of MNIST, USPS, SVHN and three alterations of MNIST, under one of two protocols.

    Full (``sample=None``): a method sees the labelled training set of the source and the unlabelled training set of
    the target, and the target's test set is scored. Sampled: some images are drawn at random from each training set,
    and the target's drawn images are both seen and scored. Samples are ``(size, size, 3)`` uint8 images; MNIST's 28
    pixels, USPS's 16 and SVHN's 32 are scaled to one size.

    Parameters
    ----------
    name : str
        Of the dataset.
    root : str
        Folder of the files, as torchvision lays them out: ``MNIST/raw/train-images-idx3-ubyte`` and three more,
        ``usps.bz2``, ``usps.t.bz2``, ``train_32x32.mat``, ``test_32x32.mat``.
    domains : mapping of str to str
        Short name -> what it is:

        ========================  ====================================================================================
        mnist, usps, svhn         the images as they are
        mnist_dilated             MNIST(D): dilated by 3 x 3 pixels, after a threshold at half the range
        mnist_max                 MNIST(max, BG): the brighter of digit and a patch of a photograph
        mnist_m                   MNIST-M, MNIST(|.|, BG): the absolute difference of digit and patch, each colour
        ========================  ====================================================================================

        The papers cut patches from BSDS500, which is not shipped; here they come from scikit-learn's two sample
        photographs, so these domains vary less than the published ones.
    tasks : str
        The tasks that a sweep takes by default: ``M-U,U-M``.
    sample : mapping of str to int, optional
        Images drawn from each domain: ``{M: 2000, U: 1800}``, from one that is not named all; None for the full
        protocol.
    resplit : mapping of str to int, optional
        Domains whose training and test set are thrown together and split anew at random, and the training images that
        they have then: ``{U: 7438}`` leaves 1,860 for the test, as in the file of CoGAN (Liu and Tuzel, NIPS 2016) that
        ADDA, CDAN, SHOT and others use. USPS's own test set is harder than its training set. Every set not named, and
        every set where this is None, is the published one.
    draw : int
        Seed of the drawing; another draws other images.
    size : int
        Side of the images in pixels.
    counts : mapping, optional
        Published number of images of each domain's two sets: ``{M: {train: 60000, test: 10000}}``. Other numbers are
        refused; None accepts what is there.

    References
    ----------
    Y. Ganin and V. Lempitsky. Unsupervised domain adaptation by backpropagation. ICML 2015, section 4.1.
    J. Hull. A database for handwritten text recognition research. IEEE TPAMI 16(5), 1994 (USPS).
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document recognition. Proceedings of
    the IEEE 86(11), 1998 (MNIST).
    Y. Netzer et al. Reading digits in natural images with unsupervised feature learning. NIPS workshop, 2011 (SVHN).
    M. Long, J. Wang, G. Ding, J. Sun, P. S. Yu. Transfer feature learning with joint distribution adaptation. ICCV
    2013, section 4.1 (2,000 and 1,800 images).
    """

    classes = tuple("0123456789")
    counts: Mapping[str, Mapping[str, int]] | None

    def __init__(
        self,
        *,
        name: str,
        root: str,
        domains: Mapping[str, str],
        tasks: str,
        sample: Mapping[str, PositiveInt] | None,
        draw: NonNegativeInt,
        size: PositiveInt,
        counts: Mapping[str, Mapping[str, int]] | None,
        resplit: Mapping[str, PositiveInt] | None = None,
    ) -> None:
        self.name = name
        self.domains = dict(domains)
        super().__init__(tasks=tasks)
        self.root = Path(root).expanduser()
        self.sample = sample
        self.draw = draw
        self.size = size
        self.counts = counts
        self.resplit = dict(resplit or {})
        self.test = lru_cache(maxsize=None)(self.load_test)
        self.labels = lru_cache(maxsize=None)(lambda name, split: self._read(name, split)[1])

    def scored(self, name: str) -> Domain:
        """Return what is scored of a target: its test set under the full protocol."""
        return self.test(name) if self.sample is None else super().scored(name)

    def load(self, name: str) -> Domain:
        """Read a domain's training set, or what is drawn from it."""
        return self._made(name, "train")

    def content(self, name: str) -> str:
        return self.domain(name).fingerprint

    def load_test(self, name: str) -> Domain:
        """Read a domain's test set."""
        return self._made(name, "test")

    def census(self, name: str) -> Counter[str]:
        """Return the number of images of each class that a method sees, none of them made."""
        y = np.concatenate([self.labels(name, each) for each in self._sets(name, "train")])
        return Counter(self.classes[label] for label in y[self._kept(name, "train", len(y))])

    def differences(self, name: str) -> Iterator[str]:
        """Yield, as one line each, how the files of a domain differ from the published numbers."""
        for split in SPLITS:
            yield from self._differences(name, split, len(self.labels(name, split)))

    def _differences(self, name: str, split: str, there: int) -> Iterator[str]:
        published = (self.counts or {}).get(name, {}).get(split, there)
        if there != published:
            yield f"{self.name} {name} ({self.domains[name]}) has {there} {split} images, published {published}"

    def _made(self, name: str, split: str) -> Domain:
        parts = []
        for each in self._sets(name, split):
            parts.append(self._read(name, each))
            for difference in self._differences(name, each, len(parts[-1][1])):
                raise UsageError(
                    f"{difference}; fetch the files again, or set dataset.counts=null to run on what is there"
                )
        x, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        kept = self._kept(name, split, len(y))
        make = MAKERS[self.domains[name]].make
        images = make(x[kept], self.size, np.random.default_rng([SEED, SPLITS.index(split)]))
        y = y[kept].astype(np.int64)
        images.setflags(write=False)
        y.setflags(write=False)
        return Domain(name, images, y, fingerprint(images, y).hex()[:16])

    def _sets(self, name: str, split: str) -> tuple[str, ...]:
        """Return the published sets of a domain that one of its two sets is made of."""
        return SPLITS if name in self.resplit else (split,)

    def _kept(self, name: str, split: str, there: int) -> np.ndarray | slice:
        """Return which images of those sets, `there` in all, belong to it."""
        rows = None
        if (train := self.resplit.get(name)) is not None:
            if train >= there:
                raise UsageError(
                    f"dataset.resplit: {train} training images of {name} wanted, it has {there} images in all"
                )
            shuffled = np.random.default_rng(self.draw).permutation(there)
            rows = shuffled[:train] if split == "train" else shuffled[train:]
            there = len(rows)
        count = (self.sample or {}).get(name) if split == "train" else None
        if count is None:
            return slice(None) if rows is None else rows
        if count > there:
            raise UsageError(f"dataset.sample: {count} images of {name} wanted, its training set has {there}")
        drawn = np.random.default_rng(self.draw).choice(there, count, replace=False)
        return drawn if rows is None else rows[drawn]

    def _read(self, name: str, split: str) -> Images:
        if name not in self.domains:
            raise unknown(f"domain of {self.name}", name, self.domains)
        if self.domains[name] not in MAKERS:
            raise unknown("digit domain", self.domains[name], MAKERS)
        read, _, files = MAKERS[self.domains[name]]
        try:
            return read(self.root, split)
        except (RuntimeError, OSError, EOFError, ValueError) as error:
            raise UsageError(
                f"{self.name}: cannot read {self.domains[name]} below {str(self.root)!r} ({error}); expected {files} "
                f"there; see `tda data fetch {self.name}`"
            ) from error


def read_mnist(root: Path, split: str) -> Images:
    """Return MNIST's images (n, 28, 28) and labels."""
    read = torchvision.datasets.MNIST(root, train=split == "train")
    return read.data.numpy(), read.targets.numpy()


def read_usps(root: Path, split: str) -> Images:
    """Return USPS's images (n, 16, 16) and labels."""
    read = torchvision.datasets.USPS(root, train=split == "train")
    return read.data, np.array(read.targets)


def read_svhn(root: Path, split: str) -> Images:
    """Return SVHN's images (n, 32, 32, 3) and labels."""
    read = torchvision.datasets.SVHN(root, split=split)
    return read.data.transpose(0, 2, 3, 1), read.labels


def plain(x: np.ndarray, size: int, _: np.random.Generator) -> np.ndarray:
    """Return images (n, h, w[, 3]) as they are, in colour and scaled."""
    return scaled(x if x.ndim == 4 else np.repeat(x[..., None], 3, axis=-1), size)


def dilated(x: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return digits (n, h, w) whose strokes have grown by a pixel on every side, in colour and scaled."""
    grown = binary_dilation(x > 127, np.ones((1, 3, 3), bool))
    return plain(np.where(grown, np.uint8(255), np.uint8(0)), size, rng)


def brighter(x: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return digits (n, h, w) in white over patches of photographs."""
    brightest: np.ndarray = np.maximum(plain(x, size, rng), patches(len(x), size, rng))
    return brightest


def difference(x: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return patches of photographs that digits (n, h, w) invert: ``|digit - patch|``."""
    digit, patch = plain(x, size, rng), patches(len(x), size, rng)
    blended: np.ndarray = np.where(digit > patch, digit - patch, patch - digit)
    return blended


def patches(count: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut `count` squares of `size` pixels at random from scikit-learn's two photographs: (count, size, size, 3)."""
    photographs = load_sample_images().images
    chosen = rng.integers(len(photographs), size=count)
    cut = np.empty((count, size, size, 3), np.uint8)
    for index, photograph in enumerate(photographs):
        windows = sliding_window_view(photograph, (size, size), axis=(0, 1))  # (rows, columns, 3, size, size)
        here = np.flatnonzero(chosen == index)
        top, left = (rng.integers(length, size=len(here)) for length in windows.shape[:2])
        cut[here] = windows[top, left].transpose(0, 2, 3, 1)
    return cut


def scaled(x: np.ndarray, size: int) -> np.ndarray:
    """Scale images (n, h, w, 3) to (n, size, size, 3), bilinear with antialiasing."""
    if x.shape[1:3] == (size, size):
        return np.ascontiguousarray(x)
    channels_first = torch.from_numpy(x).permute(0, 3, 1, 2)
    resized = F.interpolate(channels_first, (size, size), mode="bilinear", antialias=True)
    made: np.ndarray = resized.permute(0, 2, 3, 1).contiguous().numpy()
    return made


class Maker(NamedTuple):
    """How a domain comes about."""

    read: Callable[[Path, str], Images]
    make: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
    files: str


MNIST_FILES = "MNIST/raw/{train,t10k}-{images-idx3,labels-idx1}-ubyte"
MAKERS = {
    "mnist": Maker(read_mnist, plain, MNIST_FILES),
    "mnist_dilated": Maker(read_mnist, dilated, MNIST_FILES),
    "mnist_max": Maker(read_mnist, brighter, MNIST_FILES),
    "mnist_m": Maker(read_mnist, difference, MNIST_FILES),
    "usps": Maker(read_usps, plain, "usps.bz2, usps.t.bz2"),
    "svhn": Maker(read_svhn, plain, "{train,test}_32x32.mat"),
}
