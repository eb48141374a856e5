"""MNIST, USPS and SVHN: read from a small tree of torchvision's files, scaled, altered, drawn; then the real ones."""

import bz2
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from tda.data import real_digits
from tda.data.real_digits import RealDigits
from tda.errors import UsageError
from tda.resources import folder
from tda.vision import torchvision

TRAIN, TEST = 30, 20
EVERY = {"M": "mnist", "U": "usps", "S": "svhn", "MD": "mnist_dilated", "MX": "mnist_max", "MM": "mnist_m"}


def labels(count: int) -> np.ndarray:
    return np.arange(count) % 10


def idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few random images in the files that torchvision's classes read."""
    root = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(0)
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", TRAIN), ("t10k", TEST)):
        idx(raw / f"{prefix}-images-idx3-ubyte", rng.integers(256, size=(count, 28, 28), dtype=np.uint8))
        idx(raw / f"{prefix}-labels-idx1-ubyte", labels(count).astype(np.uint8))
    for name, count in (("usps.bz2", TRAIN), ("usps.t.bz2", TEST)):
        values = rng.uniform(-1, 1, size=(count, 256))
        lines = [
            " ".join([str(label + 1), *(f"{i + 1}:{value:.4f}" for i, value in enumerate(row))])
            for label, row in zip(labels(count), values, strict=True)
        ]
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    for name, count in (("train", TRAIN), ("test", TEST)):
        y = np.where(labels(count) == 0, 10, labels(count))[:, None]  # as in the files: 10 stands for the digit 0
        x = rng.integers(256, size=(32, 32, 3, count), dtype=np.uint8)
        savemat(root / f"{name}_32x32.mat", {"X": x, "y": y.astype(np.uint8)})
    return root


@pytest.fixture(autouse=True)
def any_svhn(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision compares SVHN's files with their MD5, which small ones cannot have."""
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: os.path.exists(
        os.path.join(self.root, self.filename)))  # fmt: skip


def digits(root: Path, **changes: Any) -> RealDigits:
    settings: dict[str, Any] = {
        "name": "toy", "root": str(root), "domains": EVERY, "tasks": "M-U,U-M", "sample": None, "draw": 0, "size": 32,
        "counts": None,
    }  # fmt: skip
    return RealDigits(**settings | changes)


@pytest.mark.parametrize("name", EVERY)
def test_every_domain_has_two_sets_of_coloured_images_and_their_labels(name: str, root: Path) -> None:
    dataset = digits(root)
    for domain, count in ((dataset.domain(name), TRAIN), (dataset.test(name), TEST)):
        assert domain.x.shape == (count, 32, 32, 3)
        assert domain.x.dtype == np.uint8
        assert domain.y.dtype == np.int64
        assert domain.y.tolist() == labels(count).tolist()
        for array in (domain.x, domain.y):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0


def test_images_are_told_from_others(root: Path) -> None:
    dataset = digits(root)
    same = digits(root).domain("M").fingerprint
    assert dataset.domain("M").fingerprint == dataset.content("M") == same
    others = [dataset.domain("U"), dataset.test("M"), digits(root, size=16).domain("M")]
    assert len({same, *(domain.fingerprint for domain in others)}) == 4


def test_the_full_protocol_scores_the_targets_test_set(root: Path) -> None:
    task = digits(root).task("M-U")
    assert not task.transductive
    assert (len(task.source.x), len(task.target.x), len(task.test.x)) == (TRAIN, TRAIN, TEST)
    assert (task.target.name, task.test.name) == ("U", "U")
    assert not {image.tobytes() for image in task.target.x} & {image.tobytes() for image in task.test.x}


def test_the_sampled_protocol_scores_what_is_seen(root: Path) -> None:
    dataset = digits(root, sample={"M": 12, "U": 7}, draw=3)
    task = dataset.task("M-U")
    assert task.transductive
    assert (len(task.source.x), len(task.target.x)) == (12, 7)
    whole = {image.tobytes(): label for image, label in zip(*pick(digits(root).domain("M")), strict=True)}
    drawn = list(zip(*pick(task.source), strict=True))
    assert len({image.tobytes() for image, _ in drawn}) == 12
    assert all(whole[image.tobytes()] == label for image, label in drawn)


def pick(domain: Any) -> tuple[np.ndarray, np.ndarray]:
    return domain.x, domain.y


def test_a_draw_is_reproducible_and_another_draw_is_another(root: Path) -> None:
    first, again, other = (digits(root, sample={"M": 12, "U": 7}, draw=draw).domain("M").x for draw in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_more_than_there_is_cannot_be_drawn(root: Path) -> None:
    with pytest.raises(UsageError, match="31 images of M wanted, its training set has 30"):
        digits(root, sample={"M": 31, "U": 7}).domain("M")


def test_two_sets_can_be_split_anew(root: Path) -> None:
    published = digits(root).task("M-U")
    task = digits(root, resplit={"U": 35}).task("M-U")
    assert (len(task.target.x), len(task.test.x)) == (35, TRAIN + TEST - 35)
    assert task.source.x.tobytes() == published.source.x.tobytes()
    anew, before = (
        sorted(
            (image.tobytes(), label) for half in (t.target, t.test) for image, label in zip(*pick(half), strict=True)
        )
        for t in (task, published)
    )
    assert anew == before
    assert task.test.x.tobytes() != digits(root, resplit={"U": 35}, draw=1).task("M-U").test.x.tobytes()
    assert sum(digits(root, resplit={"U": 35}).census("U").values()) == 35
    with pytest.raises(UsageError, match="50 training images of U wanted, it has 50 images in all"):
        digits(root, resplit={"U": 50}).task("M-U")


def test_altered_digits_are_what_the_paper_says(root: Path) -> None:
    dataset = digits(root, size=28)
    plain = dataset.test("M").x.astype(int)
    patch = real_digits.patches(TEST, 28, np.random.default_rng([real_digits.SEED, 1])).astype(int)
    np.testing.assert_array_equal(dataset.test("MM").x, np.abs(plain - patch))
    np.testing.assert_array_equal(dataset.test("MX").x, np.maximum(plain, patch))
    dilated = dataset.test("MD").x
    bright = np.pad(plain[..., 0] > 127, ((0, 0), (1, 1), (1, 1)))
    for i, row, column in np.random.default_rng(0).integers((TEST, 28, 28), size=(50, 3)):
        expected = bright[i, row : row + 3, column : column + 3].any()
        assert (dilated[i, row, column] == 255 * expected).all()


def test_patches_are_pieces_of_the_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = (np.arange(60)[:, None] + 2 * np.arange(50)).astype(np.uint8)
    photographs = [np.stack([ramp, ramp, ramp], axis=-1), np.full((40, 70, 3), 255, np.uint8)]

    class Two:
        images = photographs

    monkeypatch.setattr(real_digits, "load_sample_images", Two)
    cut = real_digits.patches(200, 8, np.random.default_rng(0)).astype(int)
    of_ramp = cut[(cut != 255).any(axis=(1, 2, 3))]
    assert 70 < len(of_ramp) < 130
    np.testing.assert_array_equal(np.diff(of_ramp[..., 0], axis=1), 1)  # down
    np.testing.assert_array_equal(np.diff(of_ramp[..., 0], axis=2), 2)  # across: no turning, no scaling
    assert len({piece[0, 0, 0] for piece in of_ramp}) > 30


def test_scaling_keeps_what_is_flat_and_the_mean(root: Path) -> None:
    flat = np.full((2, 16, 16, 3), 77, np.uint8)
    assert (real_digits.scaled(flat, 32) == 77).all()
    blocks = np.kron(np.array([[0, 200], [100, 50]], np.uint8), np.ones((16, 16), np.uint8))
    smaller = real_digits.scaled(np.repeat(blocks[None, :, :, None], 3, axis=3), 16)
    assert smaller[0, ::15, ::15, 0].tolist() == [[0, 200], [100, 50]]


@pytest.mark.parametrize("name", ["M", "U", "S"])
def test_absent_and_broken_files_are_named(
    name: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"cannot read .* expected .* see `tda data fetch toy`") as raised:
        digits(tmp_path).domain(name)
    assert "\n" not in str(raised.value)
    for file in root.rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UsageError, match="cannot read"):
        digits(tmp_path).domain(name)


def test_other_counts_than_published_are_refused(root: Path) -> None:
    counts = {"M": {"train": TRAIN, "test": TEST}, "U": {"train": TRAIN, "test": 2007}}
    dataset = digits(root, counts=counts)
    assert list(dataset.differences("M")) == []
    assert list(dataset.differences("U")) == ["toy U (usps) has 20 test images, published 2007"]
    dataset.domain("U")
    with pytest.raises(UsageError, match=r"has 20 test images, published 2007; .*dataset\.counts=null"):
        dataset.task("M-U")


def test_unknown_names(root: Path) -> None:
    with pytest.raises(UsageError, match="'X' is not a domain of toy"):
        digits(root).domain("X")
    with pytest.raises(UsageError, match="'mnst' is not a digit domain; did you mean 'mnist'"):
        digits(root, domains={"M": "mnst"}).domain("M")


def real(name: str) -> RealDigits:
    """A data set of the configuration on the real files."""
    data = Path(os.environ.get("TDA_DATA", Path(__file__).parents[2] / "shared" / "data")) / "digits"
    if not (data / "usps.bz2").exists():
        pytest.skip(f"no MNIST and USPS below {data}: set TDA_DATA, or run `tda data fetch mnist_usps`")
    config = yaml.safe_load((folder("conf") / "dataset" / f"{name}.yaml").read_text(encoding="utf-8"))
    kept = {key: config[key] for key in ("domains", "tasks", "sample", "draw", "size", "counts")}
    return digits(data, **kept)


@pytest.mark.data
def test_the_real_mnist_and_usps() -> None:
    task = real("mnist_usps").task("M-U")
    assert (len(task.source.x), len(task.target.x), len(task.test.x)) == (60000, 7291, 2007)
    assert np.bincount(task.source.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(task.target.y).tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    for domain in (task.source, task.test):  # white strokes on black, as a digit "1" is narrow
        ones = domain.x[domain.y == 1].astype(float).mean(axis=(0, 3))
        assert ones[:, 12:20].mean() > 4 * ones[:, :6].mean()
