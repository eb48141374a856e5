"""Random and half-broken input: whatever a user types or hands over, there is an answer or one clear line.

TDA_FUZZ sets how many inputs of each kind are tried.
"""

import ast
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

import tda
from tda import report
from tda.__main__ import main
from tda.backbones import weights
from tda.checkpoint import Checkpoint
from tda.config import Sweep, separate
from tda.data.feature_files import read as read_features
from tda.data.images import ImageFolder, UnreadableImageError, decoded
from tda.errors import UsageError
from tda.store import Store
from tda.store import read as read_record
from tests.test_arrays import WRITERS
from tests.test_store import record

TRIES = int(os.environ.get("TDA_FUZZ", "30"))
fuzz = settings(
    max_examples=TRIES, deadline=None, database=None, derandomize="TDA_FUZZ" not in os.environ,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

Change = tuple[str, float, bytes]
changes = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "overwrite", "repeat"]),
        st.floats(0, 1, exclude_max=True),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, how: list[Change]) -> bytes:
    """Return bytes that were bitten: some flipped, cut off, put in, written over or repeated."""
    made = bytearray(content)
    for what, place, new in how:
        at = int(place * len(made))
        if what == "flip" and made:
            made[at] ^= new[0] or 1
        elif what == "cut":
            del made[at:]
        elif what == "insert":
            made[at:at] = new
        elif what == "overwrite":
            made[at : at + len(new)] = new
        elif what == "repeat":
            made[at:at] = made[at : at + 8 * len(new)]
    return bytes(made)


@contextmanager
def scratch() -> Iterator[Path]:
    """Give an empty folder, and leave warnings, which are no tracebacks, to the user."""
    with TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield Path(name)


@contextmanager
def one_clear_line(error: type[Exception]) -> Iterator[None]:
    """Let nothing but this error out of the block, and nothing but one line in it."""
    try:
        yield
    except error as said:
        if "\n" in str(said):
            pytest.fail(f"more than one line: {said}")


@cache
def whole(place: str) -> dict[str, bytes]:
    with scratch() as folder:
        WRITERS[place](folder / place.partition("#")[0])
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("place", WRITERS)
def test_files_of_features(place: str) -> None:
    @fuzz
    @given(changes)
    def fuzzed(how: list[Change]) -> None:
        with scratch() as folder:
            for name, content in whole(place).items():
                (folder / name).write_bytes(changed(content, how))
            with one_clear_line(UsageError):
                samples = read_features(folder, place)
                assert len(samples.x) == len(samples.y)

    fuzzed()


@fuzz
@given(changes)
def test_bytes_of_record_files(how: list[Change]) -> None:
    assert_record_or_reason(changed(json.dumps(asdict(record())).encode(), how))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@fuzz
@given(st.dictionaries(st.sampled_from(sorted(asdict(record()))), anything, min_size=1, max_size=3))
def test_values_of_record_files(values: dict[str, Any]) -> None:
    assert_record_or_reason(json.dumps(asdict(record()) | values).encode())


def assert_record_or_reason(content: bytes) -> None:
    with scratch() as folder:
        plain = record()
        path = Store(folder).path(plain.dataset, plain.method, plain.task, plain.key)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        found = None
        with one_clear_line(ValueError):
            found = read_record(path)
        for form in report.FORMATS if found else ():
            assert report.render(report.tables([found]), form)


LISTS = b"amazon/a.jpg 0\namazon/b.jpg 1\ndslr/c d.jpg 0\n"


@fuzz
@given(changes, st.booleans())
def test_list_files(how: list[Change], named: bool) -> None:
    with scratch() as folder:
        (folder / "a.txt").write_bytes(changed(LISTS, how))
        lists = {"A": "a.txt", "B": "b.txt"}
        dataset = ImageFolder(
            name="toy", root=str(folder), domains=lists, tasks="A-B",
            classes=["bike", "mug"] if named else None, counts=None, lists=lists, size=8,
            resize="squash", corrupt="skip", cache=str(folder / "cache"),
        )  # fmt: skip
        with one_clear_line(UsageError):
            dataset.domain("A")


@cache
def picture(form: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_images(form: str) -> None:
    @fuzz
    @given(changes)
    def fuzzed(how: list[Change]) -> None:
        with scratch() as folder:
            (folder / "x").write_bytes(changed(picture(form), how))
            with suppress(UnreadableImageError):
                assert decoded(folder / "x", 8, "shorter").shape == (8, 8, 3)

    fuzzed()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_files_of_weights(suffix: str) -> None:
    def write(path: Path) -> None:
        tensors = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}
        save_file(tensors, path) if suffix == "safetensors" else torch.save(tensors, path)

    with scratch() as folder:
        write(folder / "x")
        content = (folder / "x").read_bytes()

    @fuzz
    @given(changes)
    def fuzzed(how: list[Change]) -> None:
        with scratch() as folder:
            (folder / f"x.{suffix}").write_bytes(changed(content, how))
            with one_clear_line(UsageError):
                weights.read(str(folder / f"x.{suffix}"), "resnet50", str(folder))

    fuzzed()


KEYS = ["method", "dataset", "backbone", "classifier", "trainer", "task", "seed", "name", "results", "distances",
        "runtime.device", "runtime.threads", "runtime.checkpoint", "method.dim", "method.classifier", "trainer.lr",
        "trainer.steps", "trainer.augment", "dataset.tasks", "dataset.root", "dataset.size", "method._target_",
        "method.run", "method.run.trained_on", "hydra.mode", "hydra.sweeper.params", "selection", "shard", "experiment",
        "backbone.weights", "allow_external"]  # fmt: skip
VALUES = ["tca", "dann", "coral", "digits", "office31", "O-P", "O-X", "0", "-1", "1e400", "nan", "null", "true", "[]", "{}",
          "[1,2]", "{a: 1}", "a,b", "range(3)", "range(0)", "choice(1,2)", "glob(*)", "${name}", "${method}", "${oc.env:X}", "''",
          "???", "~", "os.system", "tda.config.build", "../x", "1/2", "x" * 300, "é", "\u0000", "\n", "(", "'", "\\", "="]  # fmt: skip
word = st.sampled_from(VALUES) | st.text(max_size=6)
override = st.one_of(
    st.builds("{}={}".format, st.sampled_from(KEYS), word),
    st.builds("{}{}={}".format, st.sampled_from(["+", "++", "~", "@", "+a.", "method@"]), st.sampled_from(KEYS), word),
    st.builds("{}{}".format, st.sampled_from(["~", "", "+"]), st.sampled_from(KEYS)),
    word,
)


@pytest.mark.slow
@settings(fuzz, max_examples=TRIES)
@given(st.lists(override, min_size=1, max_size=3))
def test_overrides(overrides: list[str]) -> None:
    with scratch(), one_clear_line(UsageError):
        for one in separate(overrides):
            Sweep(one)


@fuzz
@given(changes)
def test_checkpoints(how: list[Change]) -> None:
    with scratch() as folder:
        path = folder / "state.safetensors"
        path.write_bytes(changed(written_checkpoint(), how))

        class Taken(Exception):  # noqa: N818
            pass

        class Given:
            def restore(self, state: Any) -> None:
                raise Taken

        checkpoint = Checkpoint(path, 0)
        with suppress(Taken):
            assert checkpoint.resume(Given()) == 0  # type: ignore[arg-type]


@cache
def written_checkpoint() -> bytes:
    said = {
        "format": "1",
        "steps": "3",
        "made_of": "{}",
        "state": '{"dict": [["x", {"tensor": "0"}], ["y", [1, 2.5]]]}',
    }
    with scratch() as folder:
        save_file({"0": torch.ones(3)}, folder / "x", said)
        return (folder / "x").read_bytes()


def pickled(what: str) -> bytes:
    """Return a pickle that would leave a file behind if it were loaded."""

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (what,)

    return pickle.dumps(Bomb())


def object_npy(what: str) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return stream.getvalue() + pickled(what)


def archive(names: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in names.items():
            file.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["npz", "npy", "mat", "csv", "safetensors"])
def test_a_pickle_in_a_file_of_features_is_never_loaded(suffix: str, tmp_path: Path) -> None:
    sprung = str(tmp_path / "sprung")
    content = {"npz": archive({"x.npy": object_npy(sprung)}), "npy": object_npy(sprung)}.get(suffix, pickled(sprung))
    (tmp_path / f"x.{suffix}").write_bytes(content)
    (tmp_path / "labels.npy").write_bytes(object_npy(sprung))
    with pytest.raises(UsageError):
        read_features(tmp_path, f"x.{suffix}" + "#labels.npy" * (suffix == "npy"))
    assert not Path(sprung).exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_pickle_in_a_file_of_weights_is_never_loaded(zipped: bool, tmp_path: Path) -> None:
    sprung = str(tmp_path / "sprung")
    content = archive({"x/data.pkl": pickled(sprung), "x/version": b"3\n"}) if zipped else pickled(sprung)
    (tmp_path / "x.pth").write_bytes(content)
    warnings.simplefilter("ignore")  # of torch, that the pickle is of another protocol
    with pytest.raises(UsageError):
        weights.read(str(tmp_path / "x.pth"), "resnet50", str(tmp_path))
    assert not Path(sprung).exists()


def test_the_pickles_of_these_tests_would_do_harm(tmp_path: Path) -> None:
    """Else the two tests above could not fail."""
    sprung = tmp_path / "sprung"
    pickle.loads(pickled(str(sprung)))
    assert sprung.exists()
    sprung.rmdir()
    np.load(io.BytesIO(object_npy(str(sprung))), allow_pickle=True)
    assert sprung.exists()


LOADERS = {"pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load", "dill.load", "shelve.open", "pd.read_pickle",
           "torch.jit.load", "torch.hub.load", "torch.hub.load_state_dict_from_url", "yaml.load", "yaml.unsafe_load",
           "marshal.loads", "eval", "exec", "loadmat"}  # fmt: skip
SAFE = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}


def loading(tree: ast.AST) -> Iterator[str]:
    """Yield the calls that can run what is in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            option, value = SAFE.get(name, ("", None))
            if name in LOADERS or (name in SAFE and given.get(option, "") is not value):
                yield f"line {node.lineno}: {name}"


def test_the_package_calls_nothing_that_runs_what_is_in_a_file() -> None:
    sources = sorted(Path(tda.__file__).parent.rglob("*.py"))
    assert len(sources) > 100
    assert {path.name: found for path in sources if (found := [*loading(ast.parse(path.read_text("utf-8")))])} == {}
    for bad in ("pickle.load(f)", "np.load(f)", "np.load(f, allow_pickle=True)", "torch.load(f, weights_only=False)"):
        assert [*loading(ast.parse(bad))]


WRITES: list[Path] = []
WATCHED = [False]


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not WATCHED[0]:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        WRITES.append(Path(os.fsdecode(arguments[0])) if not isinstance(arguments[0], int) else Path("/dev/fd"))
    elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.symlink", "os.link"):
        WRITES.append(Path(os.fsdecode(arguments[-3 if event == "os.mkdir" else 0])))
    elif event == "os.rename":
        WRITES.extend(Path(os.fsdecode(name)) for name in arguments[:2])


@pytest.mark.slow
def test_a_run_writes_only_in_its_results_and_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = ["run", "method=one_nn,source_only", "task=O-P", "trainer.steps=2"]
    assert main([*sweep, "results=before"]) == 0  # libraries make folders of their own when they are imported
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    sys.addaudithook(hook)
    WRITES.clear()
    WATCHED[0] = True
    try:
        assert main([*sweep, "results=there", f"runtime.cache={tmp_path / 'cache'}"]) == 0
        assert main(["report", "--results", "there"]) == 0
    finally:
        WATCHED[0] = False
    written = {tmp_path / path for path in WRITES} - {Path("/dev/null"), Path("/dev/fd")}
    assert any(path.is_relative_to(tmp_path / "there") for path in written)
    allowed = (tmp_path / "there", tmp_path / "cache")
    assert {path for path in written if not any(path.is_relative_to(folder) for folder in allowed)} == set()


@pytest.mark.parametrize("place", ["method", "dataset", "backbone", "trainer", "classifier"])
def test_what_a_config_names_outside_tda_is_refused_unless_it_is_allowed(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = ["method=coral"] if place == "classifier" else ["method=dann", "backbone=lenet"]
    arguments = ["run", *used, "task=O-P", f"{place}._target_=os.mkdir", f"results={tmp_path}"]
    assert main(arguments) == 2
    assert "lies outside tda; add allow_external=true if you trust it" in capsys.readouterr().err
    assert main([*arguments, "allow_external=true"]) == 2
    assert "lies outside tda" not in capsys.readouterr().err


@pytest.mark.parametrize("reader", ["features", "mat", "record", "image"])
def test_a_moment_of_atheris(reader: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed: pip install atheris")
    script = Path(__file__).with_name("fuzz_atheris.py")
    ran = subprocess.run([sys.executable, script, reader, "-runs=300"], capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
