"""Folders and lists of images, on small trees made here, and what is wrong with them."""

import hashlib
import multiprocessing
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tda import cache
from tda.__main__ import main
from tda.data.images import LAYOUT, ImageFolder, Listed, UnreadableImageError, decoded, fingerprint
from tda.errors import UsageError
from tda.store import Store
from tda.vision import torchvision


def paint(path: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two domains, one with the folder ``images`` in between, of two classes."""
    for domain in ("amazon/images", "webcam"):
        for label, count in (("bike", 3), ("mug", 2)):
            for i in range(count):
                paint(tmp_path / "data" / domain / label / f"{i}.png", seed=10 * i + len(domain) + count)
    return tmp_path / "data"


def dataset(root: Path, **changes: Any) -> ImageFolder:
    settings: dict[str, Any] = {
        "name": "toy", "root": str(root), "domains": {"A": "amazon", "W": "webcam"}, "tasks": "A-W,W-A",
        "classes": None, "counts": None, "lists": None, "size": 16, "resize": "shorter", "corrupt": "skip",
        "cache": str(root.parent / "cache"),
    }  # fmt: skip
    return ImageFolder(**(settings | changes))


def test_both_layouts_are_read_in_a_fixed_order(tree: Path) -> None:
    task = dataset(tree).task("A-W")
    assert task.classes == ("bike", "mug")
    for domain in (task.source, task.target):
        assert domain.x.shape == (5, 16, 16, 3)
        assert domain.y.tolist() == [0, 0, 0, 1, 1]
    first = decoded(tree / "webcam" / "bike" / "0.png", 16, "shorter")
    np.testing.assert_array_equal(task.target.x[0], first)
    assert isinstance(task.target.x, np.memmap)
    assert not task.target.x.flags.writeable


def test_domain_folders_alone_are_their_own_names(tree: Path) -> None:
    assert dataset(tree, domains=["amazon", "webcam"]).domain("amazon").name == "amazon"


def test_class_names_of_one_number_have_one_order(tree: Path) -> None:
    """Sets are in another order in every process."""
    for name, copies in (("1", "bike"), ("01", "bike"), ("001", "mug"), ("²", "mug")):
        for domain in ("amazon/images", "webcam"):
            shutil.copytree(tree / domain / copies, tree / domain / name)
    assert dataset(tree).classes == ("bike", "mug", "²", "001", "01", "1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["bike", "bike", "mug"]}, r"toy: 'bike' is listed twice in dataset\.classes; expected each once"),
        ({"domains": {"A": "webcam", "B": "webcam"}}, r"toy: 'webcam' is listed twice in dataset\.domains"),
        ({"counts": {"Z": 3}}, r"'Z' is not a domain of toy, as dataset\.counts has"),
    ],
)
def test_what_stands_twice_or_is_of_no_domain_is_refused(tree: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataset(tree, **changes)


def test_the_order_of_the_class_names_is_the_labels(tree: Path) -> None:
    assert dataset(tree, classes=["mug", "bike"]).domain("W").y.tolist() == [1, 1, 1, 0, 0]


def test_list_files_name_images_and_labels(tree: Path) -> None:
    (tree / "a.txt").write_text("amazon/images/bike/1.png 0\namazon/images/mug/0.png 1\n\n")
    (tree / "w.txt").write_text("webcam/mug/0.png mug\nwebcam/bike/2.png bike\n")
    lists = {"A": "a.txt", "W": "w.txt"}
    made = dataset(tree, lists=lists, domains=lists, classes=["bike", "mug"])
    assert made.domain("A").y.tolist() == [0, 1]
    assert made.domain("W").y.tolist() == [1, 0]
    (tree / "w.txt").write_text("webcam/mug/0.png 11\nwebcam/mug/1.png 2\n")
    (tree / "a.txt").write_text("amazon/images/mug/0.png 2\n")
    assert dataset(tree, lists=lists, domains=lists).classes == ("2", "11")
    (tree / "w.txt").write_text("nothing\n")
    with pytest.raises(UsageError, match=r"w.txt, line 1: expected `path label`, given 'nothing'"):
        dataset(tree, lists=lists, domains=lists).domain("W")
    (tree / "w.txt").write_text("webcam/mug/0.png 7\n")
    with pytest.raises(UsageError, match="'7' is neither a class of toy nor an index"):
        dataset(tree, lists=lists, domains=lists, classes=["bike", "mug"]).domain("W")
    (tree / "w.txt").write_text("webcam/mug/0.png 0\nmug/1.png 1\n")
    with pytest.raises(UsageError, match=r"w.txt, line 2: no file '.*/mug/1.png'; paths are from dataset.root on"):
        dataset(tree, lists=lists, domains=lists).domain("W")


def test_list_files_may_be_separated_by_tabs_and_names_hold_spaces(tree: Path) -> None:
    paint(tree / "webcam" / "file cabinet" / "a b.png")
    (tree / "a.txt").write_text("amazon/images/bike/1.png\t0 \r\nwebcam/file cabinet/a b.png\tfile cabinet\r\n")
    (tree / "w.txt").write_text("webcam/file cabinet/a b.png 1\nwebcam/bike/0.png 0\n")
    lists = {"A": "a.txt", "W": "w.txt"}
    made = dataset(tree, lists=lists, domains=lists, classes=["bike", "file cabinet"])
    assert made.domain("A").y.tolist() == [0, 1]
    assert made.domain("W").y.tolist() == [1, 0]


def test_images_listed_twice_are_told_once_and_those_of_two_lists_are_not(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = ["webcam/bike/0.png 0", "webcam/mug/0.png 1", "webcam/mug/1.png 1"]
    (tree / "a.txt").write_text("\n".join(images))
    (tree / "w.txt").write_text("\n".join(images + images[1:]))
    lists = {"A": "a.txt", "W": "w.txt"}
    for _ in range(2):
        task = dataset(tree, lists=lists, domains=lists).task("A-W")
    assert (len(task.source.y), len(task.target.y)) == (3, 5)
    (told,) = (record.getMessage() for record in caplog.records)
    assert "w.txt names 2 of its images more than once, 'webcam/mug/0.png' the first of them" in told


@pytest.mark.parametrize("size", [(64, 64), (300, 300), (257, 431), (431, 257), (50, 40)])
def test_images_are_resized_as_torchvision_does(tmp_path: Path, size: tuple[int, int]) -> None:
    path = paint(tmp_path / "image.png", size)
    transforms = torchvision.transforms
    with Image.open(path) as image:
        cropped = transforms.CenterCrop(224)(transforms.Resize(256)(image))
        squashed = transforms.Resize((256, 256))(image)
    np.testing.assert_array_equal(decoded(path, 256, "shorter")[16:240, 16:240], np.asarray(cropped))
    np.testing.assert_array_equal(decoded(path, 256, "squash"), np.asarray(squashed))


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1", "I;16"])
def test_images_of_any_mode_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / f"image.{'jpg' if mode == 'CMYK' else 'png'}"
    if mode == "I;16":
        Image.fromarray(np.full((20, 20), 300, dtype=np.uint16)).save(path)
    else:
        paint(path, (20, 20), mode)
    image = decoded(path, 16, "shorter")
    assert (image.shape, image.dtype) == ((16, 16, 3), np.uint8)
    if mode in {"L", "LA", "1", "I;16"}:
        assert (image[..., 0] == image[..., 1]).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_upper_half(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16) + 37
    Image.fromarray(levels).save(tmp_path / f"ramp.{suffix}")
    seen = decoded(tmp_path / f"ramp.{suffix}", 16, "shorter")
    np.testing.assert_array_equal(seen, np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_values_of_no_known_range_are_not_guessed(tmp_path: Path, kind: Any) -> None:
    Image.fromarray(np.ones((4, 4), dtype=kind)).save(tmp_path / "map.tif")
    with pytest.raises(UnreadableImageError, match=r"map\.tif: values of mode [IF] have no known range"):
        decoded(tmp_path / "map.tif", 16, "shorter")


def test_an_image_of_one_pixel_is_an_image(tmp_path: Path) -> None:
    image = decoded(paint(tmp_path / "one.png", (1, 1)), 16, "shorter")
    assert (image == image[0, 0]).all()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match=r"broken\.png"):
        decoded(path, 16, "shorter")


def test_a_truncated_image_and_one_too_oblong_are_unreadable(tmp_path: Path) -> None:
    whole = paint(tmp_path / "whole.jpg", (200, 200))
    half = tmp_path / "half.jpg"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    for path in (half, paint(tmp_path / "line.png", (500, 1))):
        with pytest.raises(UnreadableImageError):
            decoded(path, 16, "shorter")


def test_unreadable_images_are_skipped_and_named(tree: Path) -> None:
    (tree / "webcam" / "bike" / "1.png").write_bytes(b"broken")
    domain = dataset(tree).domain("W")
    assert domain.skipped == ("webcam/bike/1.png",)
    assert domain.y.tolist() == [0, 0, 1, 1]
    assert len(domain.x) == 4
    np.testing.assert_array_equal(domain.x[1], decoded(tree / "webcam" / "bike" / "2.png", 16, "shorter"))
    for _ in ("decoding", "from the cache of the other setting"):
        with pytest.raises(UsageError, match=r"webcam/bike/1\.png is not a readable image; repair or remove it"):
            dataset(tree, corrupt="strict").domain("W")


def test_strict_stops_at_the_first_unreadable_image_and_keeps_nothing(tree: Path) -> None:
    (tree / "webcam" / "bike" / "1.png").write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"1\.png is not a readable image"):
        dataset(tree, corrupt="strict").domain("W")
    assert not list((tree.parent / "cache").rglob("*.npy"))


def test_a_domain_that_stops_its_cells_leaves_those_of_later_batches(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tree / "webcam", tree / "broken")
    (tree / "broken" / "bike" / "1.png").write_bytes(b"broken")
    results = tree.parent / "results"
    images = ["dataset=image_folder", f"dataset.root={tree}", "dataset.size=16", "dataset.corrupt=strict"]
    run = ["method=source_only", "backbone=lenet", "trainer.steps=1", "hydra.sweeper.max_batch_size=1"]
    assert main(["run", *images, *run, f"results={results}"]) == 2
    assert "1.png is not a readable image" in capsys.readouterr().err
    assert {record.task for record in Store(results).all()} == {"amazon-webcam", "webcam-amazon"}


def remove_domain(root: Path) -> None:
    shutil.rmtree(root / "webcam")


def remove_class(root: Path) -> None:
    shutil.rmtree(root / "webcam" / "mug")


def rename_class(root: Path) -> None:
    (root / "webcam" / "mug").rename(root / "webcam" / "Mug")


def remove_image(root: Path) -> None:
    (root / "webcam" / "mug" / "1.png").unlink()


def empty_domain(root: Path) -> None:
    remove_domain(root)
    (root / "webcam").mkdir()


PUBLISHED = {"A": {"bike": 3, "mug": 2}, "W": {"bike": 3, "mug": 2}}


@pytest.mark.parametrize(
    ("damage", "counts", "message"),
    [
        (
            remove_domain,
            None,
            r"toy: no folder '.*webcam'; expected .*/\{amazon,webcam\}/<class>/\*\.jpg .*images/<class>/\*\.jpg\)$",
        ),
        (remove_domain, PUBLISHED, r"toy: no folder '.*webcam'; expected .*; see `tda data fetch toy`$"),
        (empty_domain, None, r"toy: no images in '.*webcam'; expected"),
        (
            remove_class,
            None,
            r"toy W \(webcam\) has no images of class 'mug', A has 2; expected images of every class in every domain",
        ),
        (rename_class, None, r"toy W \(webcam\) has no images of class 'mug', A has 2; .*, under the same names$"),
        (remove_class, {"A": 5, "W": 3}, r"has no images of class 'mug', A has 2; see `tda data verify toy`"),
        (remove_class, PUBLISHED, r"toy W \(webcam\) has no samples of class 'mug', published 2; .*counts=null"),
        (remove_image, PUBLISHED, r"toy W \(webcam\) has 1 samples of class 'mug', published 2"),
        (remove_image, {"W": 5}, r"toy W \(webcam\) has 4 samples, published 5"),
    ],
)
def test_what_is_missing_is_named(tree: Path, damage: Callable[[Path], None], counts: Any, message: str) -> None:
    damage(tree)
    with pytest.raises(UsageError, match=message):
        dataset(tree, counts=counts).domain("W")


def test_a_changed_file_is_read_again(tree: Path) -> None:
    before = dataset(tree).domain("W")
    paint(tree / "webcam" / "bike" / "0.png", seed=99)
    after = dataset(tree).domain("W")
    assert before.fingerprint != after.fingerprint
    assert not np.array_equal(before.x[0], after.x[0])


def test_the_fingerprint_of_ordinary_names(tmp_path: Path) -> None:
    """A hash of one line for each image."""
    image = paint(tmp_path / "bike" / "é.png")
    status = image.stat()
    lines = f"{LAYOUT} 16 shorter\nbike/é.png bike {status.st_size} {status.st_mtime_ns}"
    expected = hashlib.sha256(lines.encode()).hexdigest()[:16]
    assert fingerprint([Listed(image, "bike")], tmp_path, 16, "shorter") == expected


def test_names_that_are_no_utf8_are_read_and_told_escaped(tree: Path) -> None:
    shutil.copy(tree / "webcam" / "bike" / "0.png", os.fsencode(tree / "webcam" / "bike") + b"/\xff.png")
    Path(os.fsdecode(os.fsencode(tree / "webcam" / "mug") + b"/\xfe.png")).write_bytes(b"broken")
    domain = dataset(tree).domain("W")
    assert domain.y.tolist() == [0, 0, 0, 0, 1, 1]
    assert domain.skipped == ("webcam/mug/\\udcfe.png",)


def test_list_files_may_begin_with_a_byte_order_mark(tree: Path) -> None:
    (tree / "a.txt").write_text("amazon/images/bike/1.png 0\n", encoding="utf-8-sig")
    lists = {"A": "a.txt"}
    assert len(dataset(tree, lists=lists, domains=lists).listing("A")) == 1


@pytest.mark.parametrize(("content", "why"), [(None, "No such file or directory"), (b"\xe9 0", "given the byte 0xe9")])
def test_a_list_file_that_cannot_be_read(tree: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tree / "a.txt").write_bytes(content)
    with pytest.raises(
        UsageError, match=rf"toy: cannot read the list file '[^']*a\.txt': [^']*{why}; expected the list"
    ):
        dataset(tree, lists={"A": "a.txt"}, domains={"A": "a.txt"}).listing("A")


def test_a_second_reader_decodes_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset(tree).domain("W")
    monkeypatch.setattr("tda.data.images.decoded", None)
    dataset(tree).domain("W")


def test_a_disk_that_fills_while_images_are_decoded_leaves_nothing_half_made(tree: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))  # bytes: two of five images
    try:
        with pytest.raises(OSError, match="File too large"):
            dataset(tree).domain("W")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in (tree.parent / "cache").rglob("*") if path.suffix in {".npy", ".tmp"}]
    assert len(dataset(tree).domain("W").x) == 5


def test_pixels_are_written_as_they_come_not_mapped(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of a mapped file that a full disk has no room for kills the process."""
    mapped = np.lib.format.open_memmap

    def only_read(*given: Any, mode: str, **others: Any) -> np.memmap:
        assert mode == "r"
        return mapped(*given, mode=mode, **others)

    monkeypatch.setattr(np.lib.format, "open_memmap", only_read)
    (tree / "webcam" / "bike" / "1.png").write_bytes(b"broken")
    built = dataset(tree).domain("W").x
    files = ("bike/0.png", "bike/2.png", "mug/0.png", "mug/1.png")
    expected = np.stack([decoded(tree / "webcam" / file, 16, "shorter") for file in files])
    np.testing.assert_array_equal(built, expected)


@pytest.mark.parametrize("kind", ["npy", "json"])
@pytest.mark.parametrize("left", [0, 100])
def test_a_cut_file_of_the_cache_is_named(tree: Path, kind: str, left: int) -> None:
    dataset(tree).domain("A")
    cut = next((tree.parent / "cache").rglob(f"*.{kind}"))
    cut.write_bytes(b"[" * left)
    with pytest.raises(UsageError, match=re.escape(f"{cut} cannot be read (") + ".*delete it, and it is made again"):
        dataset(tree).domain("A")


def slow(path: Path) -> None:
    path.write_bytes(b"half")
    path.parent.joinpath("begun").touch()
    time.sleep(60)


@pytest.mark.slow
def test_a_builder_that_is_killed_leaves_nothing_and_the_next_one_builds(tmp_path: Path) -> None:
    wanted = tmp_path / "array.npy"
    victim = multiprocessing.get_context("spawn").Process(target=cache.built, args=(wanted, slow))
    victim.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.02)
    os.kill(victim.pid or 0, signal.SIGKILL)
    victim.join()
    assert not wanted.exists()
    cache.built(wanted, lambda path: path.write_bytes(b"whole"))
    assert wanted.read_bytes() == b"whole"
    assert not list(tmp_path.glob(".*.tmp"))


def count_builds(folder: Path) -> None:
    def build(path: Path) -> None:
        (folder / f"built-{os.getpid()}").touch()
        time.sleep(0.3)
        path.write_bytes(b"whole")

    cache.built(folder / "array.npy", build)


@pytest.mark.slow
def test_of_two_processes_one_builds(tmp_path: Path) -> None:
    both = [multiprocessing.get_context("spawn").Process(target=count_builds, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("built-*"))) == 1
