"""`tda data`: every config of a data set, where it comes from, and what the four commands say and return."""

import gzip
import hashlib
import os
import re
import shlex
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.io import savemat

from tda.__main__ import main, parser
from tda.commands.data import dataset_of
from tda.data import catalogue as module
from tda.data.catalogue import catalogue, obtain, source
from tda.data.download import FetchError
from tda.data.images import ImageFolder
from tda.errors import UsageError
from tda.resources import folder
from tests.conftest import names

OWN = ("features", "image_folder", "image_lists")  # need the user's own files
PUBLISHED = [name for name in names("dataset") if name not in (*OWN, "digits")]
REAL = Path(os.environ.get("TDA_DATA", Path(__file__).parents[2] / "shared" / "data"))


TOTALS = {
    "office31": (31, {"A": 2817, "D": 498, "W": 795}, 6),
    "office_home": (65, {"Ar": 2427, "Cl": 4365, "Pr": 4439, "Rw": 4357}, 12),
    "image_clef": (12, {"C": 600, "I": 600, "P": 600, "B": 600}, 6),
    "office_caltech10": (10, {"A": 958, "C": 1123, "D": 157, "W": 295}, 12),
    "office_caltech10_surf": (10, {"A": 958, "C": 1123, "D": 157, "W": 295}, 12),
    "office_caltech10_decaf": (10, {"A": 958, "C": 1123, "D": 157, "W": 295}, 12),
    "coil20": (20, {"C1": 720, "C2": 720}, 2),
    "visda2017": (12, {"S": 152397, "R": 55388}, 1),
    "pacs": (7, {"A": 2048, "C": 2344, "P": 1670, "S": 3929}, 12),
    "domainnet": (345, {"C": 33525, "I": 36023, "P": 50416, "Q": 120750, "R": 120906, "S": 48212}, 30),
    "mnist_usps": (10, {"M": 70000, "U": 9298}, 2),
    "mnist_usps_sampled": (10, {"M": 70000, "U": 9298}, 2),
    "mnist_usps_mat": (10, {"M": 2000, "U": 1800}, 2),
    "mnist_m": (10, {"M": 70000, "MM": 70000, "MX": 70000, "MD": 70000}, 3),
    "svhn_mnist": (10, {"S": 99289, "M": 70000}, 2),
}  # fmt: skip


class TestConfigs:
    @pytest.mark.parametrize("name", names("dataset"))
    def test_the_first_line_describes_it(self, name: str) -> None:
        first = (folder("conf") / "dataset" / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
        assert re.fullmatch(r"# .{1,20}.*: .{10,}", first)

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_it_builds_and_its_tasks_counts_and_classes_agree(self, name: str, tmp_path: Path) -> None:
        dataset = dataset_of(name, tmp_path, [])
        assert len(set(dataset.tasks)) == len(dataset.tasks)
        assert all(dataset.pair(task) for task in dataset.tasks)
        assert len(set(dataset.classes)) == len(dataset.classes)
        assert dataset.counts is not None
        assert set(dataset.counts) == set(dataset.domains)
        for published in dataset.counts.values():
            if not isinstance(published, int) and set(published) != {"train", "test"}:
                assert list(published) == list(dataset.classes)

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_sizes_are_the_published_ones(self, name: str, tmp_path: Path) -> None:
        dataset = dataset_of(name, tmp_path, [])
        assert dataset.counts is not None
        sizes = {d: count if isinstance(count, int) else sum(count.values()) for d, count in dataset.counts.items()}
        assert (len(dataset.classes), sizes, len(dataset.tasks)) == TOTALS[name]

    def test_each_domain_has_its_own_draw_of_the_seed(self, tmp_path: Path) -> None:
        assert getattr(dataset_of("mnist_usps_sampled", tmp_path, ["seed=7"]), "draw") == 7  # noqa: B009


class TestSources:
    def test_every_published_data_set_says_where_it_comes_from(self) -> None:
        needed = dict(catalogue())
        assert {name for name, sources in needed.items() if sources} == set(PUBLISHED)
        used = {one.name for sources in needed.values() for one in sources}
        assert used == {path.stem for path in (folder("conf") / "download").glob("*.yaml")}

    @pytest.mark.parametrize("path", sorted((folder("conf") / "download").glob("*.yaml")), ids=lambda path: path.stem)
    def test_it_is_complete_and_downloads_only_with_a_hash(self, path: Path) -> None:
        one = source(path.stem)
        assert one.page.startswith("http")
        assert one.licence
        assert one.size
        assert one.tree
        for file in one.files:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.hash)
            assert file.kept in one.tree
        assert not (one.archive and one.files)

    @pytest.mark.parametrize("name", PUBLISHED)
    def test_the_loader_reads_where_the_source_is_put(self, name: str, tmp_path: Path) -> None:
        dataset = dataset_of(name, tmp_path, [])
        assert {tmp_path / one.folder for one in dict(catalogue())[name]} == {getattr(dataset, "root")}  # noqa: B009

    def test_state(self, tmp_path: Path) -> None:
        one = source("office31")
        assert one.state(tmp_path) == "absent"
        (tmp_path / "office31" / "amazon").mkdir(parents=True)
        assert one.state(tmp_path) == "partly"
        assert one.missing(tmp_path) == ["dslr/[images/]<class>/*.jpg", "webcam/[images/]<class>/*.jpg"]
        for name in ("dslr", "webcam"):
            (tmp_path / "office31" / name).mkdir()
        assert one.state(tmp_path) == "present"

    def test_torchvisions_hashes_are_ours(self) -> None:
        from tda.vision import torchvision

        sets = torchvision.datasets
        ours = {file.url: file.hash for name in ("mnist", "usps", "svhn") for file in source(name).files}
        theirs = {sets.MNIST.mirrors[0] + name: f"md5:{md5}" for name, md5 in sets.MNIST.resources}
        for lists in (sets.USPS.split_list, sets.SVHN.split_list):
            theirs |= {url: f"md5:{md5}" for split, (url, _, md5) in lists.items() if split != "extra"}
        assert ours == theirs


def test_files_are_fetched_unpacked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetched(url: str, path: Path, known: str) -> Path:
        asked.append((url, known))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"content"))
        return path

    monkeypatch.setattr(module, "fetch", fetched)
    one = source("mnist")
    assert obtain(one, tmp_path) == tmp_path / "digits"
    assert [known for _, known in asked] == [file.hash for file in one.files]
    assert one.state(tmp_path) == "present"
    assert (tmp_path / "digits" / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").read_bytes() == b"content"
    assert not list(tmp_path.rglob("*.gz"))
    obtain(one, tmp_path)
    assert len(asked) == 4


def test_what_is_by_hand_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        obtain(source("office_home"), tmp_path)
    for said in ("hemanthdv.org", "fair use", "Real World/<class>/*.jpg", str(tmp_path / "office_home"), "--from"):
        assert said in str(raised.value)


def test_an_archive_for_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"coil20 is not an archive; put its files below .*COIL1_vs_COIL2\.mat"):
        obtain(source("coil20"), tmp_path, [tmp_path / "x.zip"])


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small Office-31 with all its classes, one image each, in the archive of its owners' layout."""
    config = yaml.safe_load((folder("conf") / "dataset" / "office31.yaml").read_text(encoding="utf-8"))
    made = tmp_path / "made" / "domain_adaptation_images"
    for index, domain in enumerate(("amazon", "dslr", "webcam")):
        for name in config["classes"]:
            place = made / domain / "images" / name
            place.mkdir(parents=True)
            Image.new("RGB", (10 + index, 20)).save(place / "frame_0001.jpg")
    with tarfile.open(tmp_path / "office.tar.gz", "w:gz") as archive:
        archive.add(made, made.name)
    return tmp_path


def run(*arguments: object) -> int:
    return main(["data", *map(str, arguments)])


class TestCommands:
    def test_from_an_archive_to_statistics(self, office: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = office / "data"
        assert run("fetch", "office31", "--data", data) == 1
        assert "domain_adaptation_images.tar.gz" in capsys.readouterr().err

        assert run("fetch", "office31", "--from", office / "office.tar.gz", "--data", data) == 1  # one image of each
        differences = capsys.readouterr().out.splitlines()
        assert "office31 A (amazon) has 1 samples of class 'bike', published 82" in differences
        assert len(differences) == 3 * 31

        assert run("verify", "office31", "dataset.counts=null", "--data", data) == 0
        assert "93 samples, 31 classes, 3 domains: no published counts" in capsys.readouterr().out

        assert run("stats", "office31", "--data", data) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3
        assert re.fullmatch(
            r"D \(dslr\): 31 samples of 31 classes, from 1 of '\w+' to 1 of '\w+'; "
            r"11/11/11 x 20/20/20 pixels \(least/median/greatest\)",
            lines[1],
        )

        assert run("list", "--data", data) == 0
        state = {line.split()[0]: line.split()[2] for line in capsys.readouterr().out.splitlines()}
        assert (state["office31"], state["pacs"]) == ("present", "absent")

        assert run("fetch", "office31", "--data", data) == 1  # there already: only verified
        assert "published 82" in capsys.readouterr().out

    def test_a_missing_class_is_named(self, office: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = office / "data"
        run("fetch", "office31", "--from", office / "office.tar.gz", "--data", data)
        (data / "office31" / "dslr" / "images" / "mug" / "frame_0001.jpg").unlink()
        capsys.readouterr()
        assert run("verify", "office31", "--data", data) == 1
        assert re.search(r"office31 D \(dslr\) has no \w+ of class 'mug'", capsys.readouterr().out)

    def test_unreadable_images_are_counted(self, office: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = office / "data"
        run("fetch", "office31", "--from", office / "office.tar.gz", "--data", data)
        (data / "office31" / "amazon" / "images" / "mug" / "frame_0001.jpg").write_bytes(b"no image")
        capsys.readouterr()
        assert run("stats", "office31", "--data", data) == 0
        assert ", 1 unreadable" in capsys.readouterr().out.splitlines()[0]

    def test_nothing_there(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("verify", "office31", "--data", tmp_path) == 2
        assert "`tda data fetch office31`" in capsys.readouterr().err

    def test_a_file_in_the_place_of_the_folder(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "file").touch()
        assert run("list", "--data", tmp_path / "file") == 2
        assert "expected a folder, and" in capsys.readouterr().err

    def test_a_name_mistyped(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for action in ("fetch", "verify", "stats"):
            assert run(action, "ofice31", "--data", tmp_path) == 2
            assert "did you mean 'office31'?" in capsys.readouterr().err

    def test_a_key_mistyped(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("stats", "office31", "dataset.siz=3", "--data", tmp_path) == 2
        assert "did you mean 'size'?" in capsys.readouterr().err

    def test_the_data_folder_of_a_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("stats", "office31", f"runtime.data={tmp_path}") == 2
        assert capsys.readouterr().err == f"tda: runtime.data={tmp_path}: for tda data that is --data {tmp_path}\n"

    def test_a_data_folder_with_an_awkward_name(self, office: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data = office / "it's, a = [folder]"
        run("fetch", "office31", "--from", office / "office.tar.gz", "--data", data)
        assert (data / "office31" / "amazon").is_dir()
        capsys.readouterr()
        assert run("verify", "office31", "dataset.counts=null", "--data", data) == 0

    def test_files_with_a_known_hash_are_compared(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        rng = np.random.default_rng(0)
        (tmp_path / "mat").mkdir()
        published = yaml.safe_load((folder("conf") / "dataset" / "office_caltech10_surf.yaml").read_text())["counts"]
        for name in ("amazon", "caltech", "dslr", "webcam"):
            labels = np.repeat(np.arange(1, 11), [*published[name[0].upper()].values()])
            content = {"fts": rng.integers(9, size=(len(labels), 20)), "labels": labels}
            savemat(tmp_path / "mat" / f"{name}_SURF_L10.mat", content)
        assert run("verify", "office_caltech10_surf", "--data", tmp_path) == 1
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4
        found = hashlib.sha256((tmp_path / "mat" / "dslr_SURF_L10.mat").read_bytes()).hexdigest()
        assert lines[2] == (
            f"office_caltech10_surf: dslr_SURF_L10.mat has sha256 {found}, "
            "expected 44d673c68e1d07b837893aa74dba3b986e4a6cc3fd66f0dd357683bdef059216"
        )

    def test_the_embedded_digits_need_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run("fetch", "digits", "--data", tmp_path) == 0
        assert "digits: 3,797 samples, 10 classes, 3 domains" in capsys.readouterr().out


@pytest.mark.parametrize(
    "level", [["data"], ["data", "list"], ["data", "fetch"], ["data", "verify"], ["data", "stats"]]
)
def test_help(level: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*level, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for line in re.findall(r"^ *tda (data .*)$", shown, re.MULTILINE):
        parser().parse_args(shlex.split(re.split(r"  +", line)[0]))


def test_a_domain_without_a_readable_image_has_no_sizes(tmp_path: Path) -> None:
    place = tmp_path / "a" / "c"
    place.mkdir(parents=True)
    (place / "1.jpg").write_bytes(b"")
    settings: dict[str, Any] = {"classes": None, "counts": None, "size": 8, "resize": "shorter", "corrupt": "skip"}
    dataset = ImageFolder(name="x", root=str(tmp_path), domains=["a"], tasks="", cache=str(tmp_path), **settings)
    assert module.sizes(dataset, "a") == "none of them a readable image"


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in ("mnist_usps_sampled", "mnist_m")])
def test_the_real_ones_are_as_published(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    absent = [one.name for one in dict(catalogue())[name] if one.state(REAL) != "present"]
    if absent:
        pytest.skip(f"{', '.join(absent)} not below {REAL}: set TDA_DATA, or see `tda data fetch {name}`")
    assert run("verify", name, "--data", REAL) == 0
    assert "as published" in capsys.readouterr().out
