"""Every fault that was tried: what is done, what the user sees, what is left behind, and that a rerun mends it.

`FAULTS` is the table. Each is caused for real, in a sweep of two methods over files of features; then the sweep is run
again, undisturbed, and must end as if nothing had happened.
"""

import ctypes
import json
import os
import random
import re
import resource
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tda import preparation
from tda.__main__ import main
from tda.methods.shallow.one_nn import OneNN
from tda.store import FORMAT, read

KILLS = int(os.environ.get("TDA_KILLS", "3"))  # of the sweep of 60 cells; twenty is the full form


def write_features(root: Path, domains: str, seed: int = 0, samples: int = 40) -> None:
    """Three classes in eight dimensions, each domain a little elsewhere, as CSV."""
    root.mkdir(exist_ok=True)
    for place, domain in enumerate(domains):
        draw = np.random.default_rng([seed, place])
        y = np.arange(samples) % 3
        x = np.eye(3, 8)[y] + 0.3 * place + 0.4 * draw.standard_normal((samples, 8))
        np.savetxt(root / f"{domain}.csv", np.column_stack([x, y]), delimiter=",", fmt="%.6f")


class Scene(NamedTuple):
    """A place where something will go wrong."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def sweep(self, *overrides: str) -> list[str]:
        return ["run", "dataset=features", f"dataset.root={self.folder / 'data'}", "task=A-B",
                "method=one_nn,coral", f"results={self.results}", *overrides]  # fmt: skip

    def run(self, *overrides: str) -> "Seen":
        code = main(self.sweep(*overrides))
        return Seen(code, self.capsys.readouterr().err)

    def all_records(self) -> list[Path]:
        return sorted(self.results.glob("records/*/*/[!.]*.json"))

    def records(self) -> dict[str, Path]:
        return {path.parent.name: path for path in self.all_records()}


class Seen(NamedTuple):
    """What the user is given."""

    code: int
    said: str


def apart(call: Callable[[], object], said: Path, at: Callable[[], bool], number: int) -> Seen:
    """Do something in a process of its own, and send it a signal once something is so."""
    child = forked(call, said)
    deadline = time.monotonic() + 60
    while (
        not at()
        and time.monotonic() < deadline
        and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(0.002)
    os.kill(child, number)
    return Seen(ended(child), said.read_text())


def forked(call: Callable[[], object], said: Path) -> int:
    """Start a process as a copy of this one, which saves it the imports; its output goes to a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; there are none
        child = os.fork()
    if child:
        return child
    code = 70
    try:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        import sys

        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        code = int(call())  # type: ignore[call-overload]
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outcome(path: Path) -> tuple[Any, ...]:
    record = read(path)
    return record.status, record.accuracy, record.accuracy_per_class, record.confusion, record.data


# ---- what is done: each returns what the user sees ----


def edited(**changes: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def edited_config(path: Path) -> None:
    written = json.loads(path.read_text())
    written["config"]["dataset"]["rows"] = "l2"
    path.write_text(json.dumps(written))


def anothers(path: Path) -> None:
    *_, other = sorted(path.parent.glob("*.json"))
    path.write_bytes(other.read_bytes())


def full_disk(scene: Scene) -> Seen:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tda.cache.os.fsync", full)
        return scene.run()


def full_before(scene: Scene) -> Seen:
    """No file may grow beyond a page, a limit of the kernel's."""

    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        return main(scene.sweep())

    child = forked(limited, scene.folder / "said")
    return Seen(ended(child), (scene.folder / "said").read_text())


def read_only(scene: Scene) -> Seen:
    scene.results.mkdir()
    scene.results.chmod(0o555)

    def without_the_right() -> int:
        give_up_writing_everywhere()
        return main(scene.sweep())

    child = forked(without_the_right, scene.folder / "said")
    seen = Seen(ended(child), (scene.folder / "said").read_text())
    scene.results.chmod(0o755)
    return seen


def give_up_writing_everywhere() -> None:
    """Take the superuser's CAP_DAC_OVERRIDE away; for anybody else this changes nothing."""
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    sets[0] &= ~0b10
    assert libc.capset(header, sets) == 0


def hungry(allocate: Callable[[], object]) -> Callable[[Scene], Seen]:
    def cause(scene: Scene) -> Seen:
        def limited() -> int:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + 2**27
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            OneNN.fit = lambda self, *_: allocate()  # type: ignore[method-assign,assignment]
            return main(scene.sweep())

        child = forked(limited, scene.folder / "said")
        return Seen(ended(child), (scene.folder / "said").read_text())

    return cause


def diverging(scene: Scene) -> Seen:
    return scene.run("method=dann", "trainer.lr=1e9", "trainer.steps=20")


def changed_data(scene: Scene) -> Seen:
    scene.run("method=coral")
    write_features(scene.folder / "data", "AB", seed=1)
    forget_data()
    seen = scene.run()
    write_features(scene.folder / "data", "AB")
    forget_data()
    scene.records()["one_nn"].unlink()
    return seen


def changed_when_done(scene: Scene) -> Seen:
    scene.run()
    write_features(scene.folder / "data", "AB", seed=1)
    forget_data()
    seen = scene.run()
    write_features(scene.folder / "data", "AB")
    forget_data()
    return seen


def forget_data() -> None:
    """Read the files again, as another process does."""
    preparation.dataset.cache_clear()
    preparation.seen.cache_clear()


def killed(number: int) -> Callable[[Scene], Seen]:
    def cause(scene: Scene) -> Seen:
        def first_is_there() -> bool:
            return len(scene.records()) == 1

        return apart(lambda: main(scene.sweep()), scene.folder / "said", first_is_there, number)

    return cause


def told_while_training(scene: Scene) -> Seen:
    deep = scene.sweep("method=dann", "trainer.steps=150", "runtime.checkpoint=0.01")

    def saved() -> bool:
        return any(scene.results.glob("checkpoints/*/*/[!.]*.safetensors"))

    return apart(lambda: main(deep), scene.folder / "said", saved, signal.SIGTERM)


def two_at_once(scene: Scene) -> Seen:
    says = [scene.folder / "one", scene.folder / "two"]
    children = [forked(lambda: main(scene.sweep()), said) for said in says]
    codes = [ended(child) for child in children]
    return Seen(max(codes), "\n".join(said.read_text() for said in says))


def typed(*overrides: str) -> Callable[[Scene], Seen]:
    return lambda scene: scene.run(*overrides)


# ---- what is left behind ----


def left(scene: Scene) -> set[str]:
    """The names of all files below the results folder but the tables, hidden ones as such."""
    files = (path.relative_to(scene.results) for path in scene.results.rglob("*") if path.is_file())
    names = {f"{path.parts[0]}/{path.parent.name}" if path.name[0] != "." else "hidden" for path in files}
    return {name for name in names if not name.startswith(("tables/", "hydra/"))}


NOTHING: set[str] = set()
BOTH = {"records/one_nn", "records/coral"}
MENDS = "the same command goes on from there"


class Broken(NamedTuple):
    what: str
    cause: Callable[[Path], object]
    sees: str


BROKEN_RECORDS = [
    Broken("a record file is cut off", lambda path: os.truncate(path, 300), f"not a record of format {FORMAT}"),
    Broken("a record file is empty", lambda path: os.truncate(path, 0), "not a record"),
    Broken("a record file is another program's", lambda path: path.write_text('{"loss": 1}'), "not a record"),
    Broken("a record file is no text", lambda path: path.write_bytes(os.urandom(500)), "not a record"),
    Broken("a record is of a newer version", edited(format=99), f"format 99 is newer than this version's {FORMAT}; upgrade"),
    Broken("a record is of a newer version with more in it", edited(format=99, more=1), "format 99 is newer"),
    Broken("a record is of a version no longer read", edited(format=1), "format 1 is too old to be read"),
    Broken("a word stands for a record's number", edited(seconds="long"), f"not a record of format {FORMAT}: seconds: "),
    Broken("a record's accuracy is edited by hand", edited(accuracy=99.9), "it was edited: its accuracy"),
    Broken("a record's accuracy is taken out", edited(accuracy=None), "it was edited: None is no accuracy in per cent"),
    Broken("a record's accuracy is beyond 100", edited(accuracy=150.0, confusion=None), "it was edited: 150.0 is no accuracy"),
    Broken("a record's backbone is edited by hand", edited(backbone="other"), "it was edited: its backbone is not"),
    Broken("a record's config is edited by hand", edited_config, "it was edited: its config is not that of its key"),
    Broken("a record is copied over another", anothers, "it is the record of features_folder, coral, A-B"),
]  # fmt: skip


class Fault(NamedTuple):
    what: str
    cause: Callable[[Scene], Seen]
    code: int
    sees: str
    left: set[str]


FAULTS = [
    Fault("the disk is full when a record is written", full_disk, 2, rf"cannot write .*: No space left on device; .* {MENDS}", NOTHING),
    Fault("the disk is full before a cell is computed", full_before, 2, "cannot write to the results folder .*: File too large; choose another", NOTHING),
    Fault("the results folder is read-only", read_only, 2, "cannot write to the results folder .*: Permission denied; choose another", NOTHING),
    Fault("a method needs more memory than there is (NumPy)", hungry(lambda: np.ones(2**30)), 1, r"failed: A-B 1-NN: \w*MemoryError: .*; the method needs more memory than there is", BOTH),
    Fault("a method needs more memory than there is (torch)", hungry(lambda: torch.ones(2**30)), 1, "failed: A-B 1-NN: RuntimeError: .*; the method needs more memory than there is", BOTH),
    Fault("a loss is no number", diverging, 1, r"failed: A-B DANN: DivergenceError: the .*loss is (nan|inf) at step \d+ of 20; lower trainer\.lr", {"records/dann"}),
    Fault("the data change between runs", changed_data, 0, "features_folder A: 1 of 2 records were made from other files", {"records/coral"}),
    Fault("the data change when all cells are done", changed_when_done, 0, "features_folder A has changed since 2 of these cells were computed; .*\nfeatures_folder B has changed since 2 of these cells .*\n2 cells: 2 done already", BOTH),
    Fault("kill -9", killed(signal.SIGKILL), -9, "2 cells: 0 done already, 2 to run", {"records/one_nn"}),
    Fault("Ctrl-C", killed(signal.SIGINT), 130, f"tda: interrupted; finished cells are kept, and {MENDS}", {"records/one_nn"}),
    Fault("a scheduler's SIGTERM", killed(signal.SIGTERM), 143, f"tda: told to stop; finished cells are kept, and {MENDS}", {"records/one_nn"}),
    Fault("a scheduler's SIGTERM in mid-training", told_while_training, 143, f"tda: told to stop; .* {MENDS}", {"checkpoints/dann"}),
    Fault("two sweeps at once on one results folder", two_at_once, 0, "2 cells: ", BOTH),
    Fault("an unknown key", typed("method.dmi=3"), 2, r"'dmi' is not a key of method", NOTHING),
    Fault("a value of the wrong type", typed("method.ridge=many", "method=coral"), 2, r"method\.ridge=many: input should be a valid number", NOTHING),
    Fault("an interpolation of a key that is not there", typed("name=${nosuch}"), 2, "Interpolation key 'nosuch' not found", NOTHING),
    Fault("an interpolation loop", typed("name=${name}"), 2, "Recursive interpolation detected", NOTHING),
    Fault("an interpolation of what it is a part of", typed("name=${method}"), 2, "tda: ", NOTHING),
]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, ...]]:
    scene = Scene(tmp_path_factory.mktemp("undisturbed"), None)  # type: ignore[arg-type]
    write_features(scene.folder / "data", "AB")
    assert main(scene.sweep()) == 0
    return {method: outcome(path) for method, path in scene.records().items()}


def test_a_broken_record_is_named_and_set_aside_and_its_cell_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_features(tmp_path / "data", "AB")
    scene = Scene(tmp_path, capsys)
    grid = ["method=coral", f"method.ridge=range(1,{len(BROKEN_RECORDS) + 2})"]
    assert scene.run(*grid).code == 0
    records = scene.all_records()
    before = {path: outcome(path) for path in records}
    for broken, path in zip(BROKEN_RECORDS, records, strict=False):
        broken.cause(path)
    content = {path: path.read_bytes() for path in records}
    seen = scene.run(*grid)
    assert (seen.code, "Traceback" in seen.said) == (0, False)
    assert f"{len(records)} cells: 1 done already" in seen.said
    for broken, path in zip(BROKEN_RECORDS, records, strict=False):
        aside = scene.results / "set-aside" / "features_folder" / "coral" / f"{path.stem}.0.json"
        assert f"{path} is set aside as {aside}: {broken.sees}" in caplog.text, broken.what
        assert aside.read_bytes() == content[path]
    assert {path: outcome(path) for path in records} == before


def test_a_report_names_a_broken_record_and_leaves_it_where_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_features(tmp_path / "data", "AB")
    scene = Scene(tmp_path, capsys)
    scene.run()
    path = scene.records()["one_nn"]
    path.write_bytes(b"")
    assert main(["report", "--results", str(scene.results)]) == 0
    assert "CORAL" in capsys.readouterr().out
    assert f"{path} is skipped: not a record of format {FORMAT}" in caplog.text
    assert path.read_bytes() == b""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what)
def test_what_the_user_sees_what_is_left_and_that_a_rerun_mends_it(
    fault: Fault, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture,
    undisturbed: dict[str, tuple[Any, ...]],
) -> None:  # fmt: skip
    scene = Scene(tmp_path, capsys)
    write_features(tmp_path / "data", "AB")
    seen = fault.cause(scene)
    said = seen.said + caplog.text
    assert seen.code == fault.code, said
    assert re.search(fault.sees, said), said
    assert "Traceback" not in said
    if fault.code == 2:
        assert len(re.findall(r"^tda: ", said, re.MULTILINE)) == 1
    assert left(scene) == fault.left
    if not fault.left and fault.code == 2 and not scene.results.exists():
        return
    assert scene.run().code == 0
    assert {method: outcome(scene.records()[method]) for method in undisturbed} == undisturbed


@pytest.mark.slow
def test_a_deep_run_that_was_told_to_stop_ends_with_the_record_of_one_that_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_features(tmp_path / "data", "AB")
    scene = Scene(tmp_path, capsys)
    assert told_while_training(scene).code == 143
    assert not scene.all_records()
    deep = ["method=dann", "trainer.steps=150"]
    assert scene.run(*deep).code == 0
    assert re.search(r"checkpoints/.*\.safetensors: training goes on from step \d+", caplog.text)
    assert left(scene) == {"records/dann"}
    assert main(scene.sweep(*deep, f"results={tmp_path / 'whole'}")) == 0
    (stopped,), (whole,) = scene.all_records(), (tmp_path / "whole" / "records").glob("*/*/*.json")
    fleeting = {"seconds": 0.0, "created": ""}
    assert replace(read(stopped), **fleeting) == replace(read(whole), **fleeting)


@pytest.mark.slow
def test_a_sweep_of_sixty_cells_killed_at_random_moments_ends_as_one_that_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No kill may lose or spoil a record; what it may leave is a hidden temporary file. TDA_KILLS=20 is the full form."""
    write_features(tmp_path / "data", "ABC")
    scene = Scene(tmp_path, capsys)
    grid = ["task=A-B,A-C,B-A,B-C,C-A,C-B", "method=coral", "method.ridge=range(1,11)"]
    assert main(scene.sweep(*grid, f"results={tmp_path / 'whole'}")) == 0
    draw = random.Random(0)
    for _ in range(KILLS):
        enough = len(scene.all_records()) + draw.randrange(60 // KILLS - 1)
        wait = draw.random() / 20

        def moment(enough: int = enough, wait: float = wait) -> bool:
            return len(scene.all_records()) >= enough and time.sleep(wait) is None

        seen = apart(lambda: main(scene.sweep(*grid)), tmp_path / "said", moment, signal.SIGKILL)
        assert seen.code == -signal.SIGKILL, seen.said
        assert {read(path).status for path in scene.all_records()} <= {"ok"}
    there = len(scene.all_records())
    assert 0 < there < 60
    capsys.readouterr()
    assert scene.run(*grid).said.startswith(f"60 cells: {there} done already, {60 - there} to run")
    for table in ("features_folder.csv", "features_folder.records.csv"):
        ours, theirs = (folder / "tables" / table for folder in (scene.results, tmp_path / "whole"))
        assert ours.read_bytes() == theirs.read_bytes()
    assert len(list(scene.results.rglob(".*.tmp"))) <= KILLS
