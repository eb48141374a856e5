"""The embedded digits: what they hold, that they are reproducible, that no domain borrows from another."""

from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.ft2font import FT2Font
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from tda.data import digits as module
from tda.data.digits import FONTS, Digits
from tda.errors import UsageError
from tda.task import Domain

TASKS = "O-P,O-S,P-O,P-S,S-O,S-P"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    dataset = Digits(tasks=TASKS, cache=str(tmp_path_factory.mktemp("first")))
    dataset.domain("O")
    return dataset


@pytest.fixture(params="OPS")
def domain(dataset: Digits, request: pytest.FixtureRequest) -> Domain:
    return dataset.domain(request.param)


def test_images_and_labels(domain: Domain) -> None:
    assert domain.x.shape[1:] == (32, 32, 3)
    assert domain.x.dtype == np.uint8
    assert domain.y.dtype == np.int64
    assert np.unique(domain.y).tolist() == list(range(10))
    assert domain.x.min() < 50
    assert domain.x.max() > 200


def test_arrays_are_read_only(domain: Domain) -> None:
    for array in (domain.x, domain.y):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_no_domain_repeats_an_image(domain: Domain) -> None:
    assert len({image.tobytes() for image in domain.x}) == len(domain.x)


def test_handwriting_is_shared_out_once_and_in_balance(dataset: Digits) -> None:
    every = np.bincount(load_digits().target)
    plain, blended = (np.bincount(dataset.domain(name).y) for name in "OP")
    np.testing.assert_array_equal(plain + blended, every)
    assert np.abs(plain - blended).max() <= 1


def test_synthetic_classes_are_of_one_size(dataset: Digits) -> None:
    assert np.bincount(dataset.domain("S").y).tolist() == [200] * 10


def test_halves_are_disjoint_complete_and_random() -> None:
    y = load_digits().target
    first, second = module.halves(y, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(len(y)))
    other, _ = module.halves(y, np.random.default_rng(1))
    assert len(np.intersect1d(first, other)) == pytest.approx(len(y) / 4, rel=0.2)


def test_no_image_is_shared_between_domains(dataset: Digits) -> None:
    seen = {name: {image.tobytes() for image in dataset.domain(name).x} for name in "OPS"}
    assert len(set.union(*seen.values())) == sum(map(len, seen.values()))


def test_no_handwritten_digit_is_both_plain_and_blended(dataset: Digits) -> None:
    bunch = load_digits()
    enlarged = np.stack([module.enlarge(small) for small in bunch.images])
    plain = {image[:, :, 0].tobytes() for image in dataset.domain("O").x}
    taken = np.array([image.tobytes() in plain for image in enlarged])
    blended = dataset.domain("P")
    np.testing.assert_array_equal(dataset.domain("O").y, bunch.target[taken])
    np.testing.assert_array_equal(blended.y, bunch.target[~taken])

    # |0 - p| = p and |255 - p| = 255 - p: undoing the digit that was blended gives the smooth patch back
    digits = enlarged[~taken]
    wrong = np.roll(digits, 1, axis=0)
    smoother = [
        roughness(digit, image) < roughness(other, image)
        for digit, other, image in zip(digits[:200], wrong[:200], blended.x[:200], strict=True)
    ]
    assert np.mean(smoother) > 0.95


def roughness(digit: np.ndarray, image: np.ndarray) -> float:
    """Mean step to the next pixel once the solid part of `digit` is inverted back, slopes left out."""
    undone = np.where((digit == 255)[:, :, None], 255 - image.astype(float), image.astype(float))
    solid = (digit == 0) | (digit == 255)
    pairs = solid[:, 1:] & solid[:, :-1]
    return float(np.abs(np.diff(undone, axis=1))[pairs].mean())


def test_photo_blend_is_the_absolute_difference() -> None:
    rng = np.random.default_rng(0)
    digit = rng.integers(256, size=(5, 4), dtype=np.uint8)
    patch = rng.integers(256, size=(5, 4, 3), dtype=np.uint8)
    plain = [[[abs(int(digit[i, j]) - int(p)) for p in patch[i, j]] for j in range(4)] for i in range(5)]
    blended = module.photo_blend(digit, patch)
    assert blended.dtype == np.uint8
    assert blended.tolist() == plain


def test_patches_are_of_the_photographs() -> None:
    rng = np.random.default_rng(0)
    red, blue = (np.full((130, 200, 3), colour, dtype=np.uint8) for colour in ([200, 0, 0], [0, 0, 200]))
    colours = {tuple(module.random_patch([red, blue], rng).reshape(-1, 3)[0].tolist()) for _ in range(20)}
    assert colours == {(200, 0, 0), (0, 0, 200)}


def test_enlarged_digit_keeps_black_white_and_a_margin() -> None:
    large = module.enlarge(np.full((8, 8), 16.0))
    assert (large[8:-8, 8:-8] == 255).all()
    assert not large[[0, -1]].any()
    assert not large[:, [0, -1]].any()
    assert not module.enlarge(np.zeros((8, 8))).any()


def test_fonts_are_of_eight_families_at_least_and_hold_ten_digits() -> None:
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    assert len({FT2Font(str(folder / font)).family_name for font in FONTS}) >= 8
    for font in FONTS:
        face = module.typeface(font, 80)
        assert len({bytes(face.getmask(digit)) for digit in Digits.classes}) == 10
        heights = [-top for _, top, _, _ in (face.getbbox(digit, anchor="ls") for digit in Digits.classes)]
        assert min(heights) > 0.9 * max(heights), f"{font} has old-style digits"


def test_every_font_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[str] = set()

    def record(digit: int, font: str, rng: np.random.Generator) -> np.ndarray:
        used.add(font)
        return np.zeros((32, 32, 3), np.uint8)

    monkeypatch.setattr(module, "render", record)
    module.synthetic(2000, np.random.default_rng(0))
    assert used == set(FONTS)


@pytest.mark.parametrize("digit", [0, 1, 4, 8])
def test_stencil_puts_the_digit_where_it_is_told(digit: int) -> None:
    def centre(shift: tuple[float, float]) -> np.ndarray:
        ink = module.stencil(str(digit), module.typeface(FONTS[0], 80), weight=1, shift=np.array(shift), angle=0)
        spans = (np.flatnonzero(ink.max(axis=axis) > 0.1) for axis in (0, 1))
        return np.array([(span[0] + span[-1] + 1) / 2 for span in spans])

    np.testing.assert_allclose(centre((0, 0)), (16, 16), atol=0.5)
    np.testing.assert_allclose(centre((3, -2)) - centre((0, 0)), (3, -2), atol=0.5)


def test_bending_keeps_the_digit_in_the_image_and_its_ink() -> None:
    ink = module.stencil("8", module.typeface(FONTS[0], 100), weight=2, shift=np.zeros(2), angle=0)
    straight = module.bent(ink, slant=0, stretch=np.array([0.5, 0.5]), rng=np.random.default_rng(0))
    assert straight.sum() == pytest.approx(ink.sum() / 4, rel=0.15)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn = module.bent(ink, slant=0.3, stretch=np.ones(2), rng=rng)
        assert 0 <= drawn.min() <= drawn.max() <= 1 + 1e-9
        assert drawn.sum() == pytest.approx(ink.sum(), rel=0.2)


def test_intensities_differ_and_are_nearly_grey() -> None:
    rng = np.random.default_rng(0)
    drawn = np.stack([module.two_intensities(rng) for _ in range(200)])
    assert np.abs(np.diff(drawn.mean(axis=2))).min() > module.CONTRAST - 2 * module.TINT
    assert np.ptp(drawn, axis=2).max() <= 2 * module.TINT


@pytest.mark.slow
def test_two_builds_are_identical(dataset: Digits, tmp_path: Path) -> None:
    again = Digits(tasks=TASKS, cache=str(tmp_path))
    for name in "OPS":
        assert dataset.domain(name).x.tobytes() == again.domain(name).x.tobytes()
        assert dataset.domain(name).y.tobytes() == again.domain(name).y.tobytes()


def test_cache_is_used_and_named_after_its_makers(dataset: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise AssertionError("built a second time")

    monkeypatch.setattr(module, "build", refuse)
    again = Digits(tasks=TASKS, cache=str(dataset.cache))
    np.testing.assert_array_equal(again.domain("S").x, dataset.domain("S").x)

    names = [module.fingerprint()]
    monkeypatch.setattr(module, "version", lambda package: f"another {package}")
    names.append(module.fingerprint())
    monkeypatch.setattr(module, "RECIPE", module.RECIPE + 1)
    names.append(module.fingerprint())
    assert all(one != other for one, other in pairwise(names))
    with pytest.raises(AssertionError, match="second time"):
        Digits(tasks=TASKS, cache=str(dataset.cache)).domain("S")


def test_every_task_is_there(dataset: Digits) -> None:
    assert len(dataset.tasks) == 6
    for name in dataset.tasks:
        task = dataset.task(name)
        assert task.name == name
        assert task.transductive


def test_unknown_names_suggest_the_nearest(dataset: Digits) -> None:
    with pytest.raises(UsageError, match=r"'O-X' is not a task of digits; did you mean 'O-[PS]'\?"):
        dataset.task("O-X")
    with pytest.raises(UsageError, match=r"'O-P-S' is not a task of digits; did you mean 'P-S'"):
        Digits(tasks="O-P-S", cache=str(dataset.cache)).task("O-P-S")
    with pytest.raises(UsageError, match="'X' is not a domain of digits"):
        dataset.domain("X")


def test_the_shift_is_real(dataset: Digits) -> None:
    source = dataset.domain("O")
    flat = {name: dataset.domain(name).x.reshape(len(dataset.domain(name).x), -1) / 255.0 for name in "OP"}
    train, test = np.arange(0, 899, 2), np.arange(1, 899, 2)
    neighbour = KNeighborsClassifier(1).fit(flat["O"][train], source.y[train])
    within = neighbour.score(flat["O"][test], source.y[test])
    across = neighbour.score(flat["P"], dataset.domain("P").y)
    assert within > 0.9
    assert 0.1 < across < within - 0.3
