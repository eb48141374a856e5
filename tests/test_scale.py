"""Shards, stores merged, what a launcher is given, and that a sweep's cost grows with its cells alone."""

import json
import pickle
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from tda import launch
from tda.__main__ import main
from tda.cache import digest
from tda.config import Cell, Loader, Sweep, composed, part_of
from tda.devices import claimed
from tda.errors import UsageError
from tda.launch import Share, shared
from tda.progress import Progress
from tda.store import Store, Stores
from tests.test_store import record


def cells(methods: int, tasks: int) -> list[Cell]:
    """Cells of as many methods and tasks, and oracles: those of one target have one key."""
    nothing = OmegaConf.create()
    ordinary = [
        Cell((), ("d", f"m{m}", f"{t}-{t + 1}", digest([m, t])), "", None, nothing)
        for t in range(tasks)
        for m in range(methods)
    ]
    oracles = [Cell((), ("d", "oracle", f"{t}-x", digest("x")), "", None, nothing) for t in range(tasks)]
    return ordinary + oracles


class TestShards:
    @pytest.mark.parametrize("parts", [1, 3, 4])
    def test_parts_are_the_whole_each_cell_once_and_of_equal_size(self, parts: int) -> None:
        whole = cells(5, 7)
        dealt = [part_of(whole, f"{i}/{parts}") for i in range(1, parts + 1)]
        assert Counter(cell.address for part in dealt for cell in part) == Counter(cell.address for cell in whole)
        keys = [{cell.address[-1] for cell in part} for part in dealt]
        assert max(map(len, keys)) - min(map(len, keys)) <= 1
        assert sum(map(len, keys)) == 5 * 7 + 1

    def test_a_part_does_not_hold_one_method_alone(self) -> None:
        assert len({cell.address[1] for cell in part_of(cells(3, 30), "1/3")}) > 1

    @pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "-1/3", "a/b", "1/3/5"])
    def test_what_is_no_shard_is_refused(self, shard: str) -> None:
        with pytest.raises(UsageError, match=rf"shard={re.escape(shard)}: expected i/n"):
            part_of(cells(1, 1), shard)

    @pytest.mark.slow
    def test_shards_merge_into_the_report_of_the_whole(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        grid = ["run", "method=one_nn", "task=O-P,P-O,S-O,O-S"]
        folders = [tmp_path / name for name in ("whole", "one", "two")]
        assert main([*grid, f"results={folders[0]}"]) == 0
        capsys.readouterr()
        assert main(["report", "--results", str(folders[0])]) == 0
        whole = capsys.readouterr().out
        for part, folder in zip(("1/2", "2/2"), folders[1:], strict=True):
            assert main([*grid, f"results={folder}", f"shard={part}"]) == 0
            assert "2 cells: 0 done already" in capsys.readouterr().err
        assert main(["report", "--results", *map(str, folders[1:])]) == 0
        assert capsys.readouterr().out == whole


class TestStores:
    @staticmethod
    def stores(tmp_path: Path, *accuracies: float | None) -> Stores:
        results = [tmp_path / str(number) for number in range(len(accuracies))]
        for folder, accuracy in zip(results, accuracies, strict=True):
            made = record(
                key=digest(record().config), accuracy=accuracy, status="ok" if accuracy is not None else "failed"
            )
            path = Store(folder).path(made.dataset, made.method, made.task, made.key)
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(made.__dict__))
        return Stores(results)

    def test_equal_records_are_one_and_no_conflict(self, tmp_path: Path) -> None:
        records, conflicts = self.stores(tmp_path, 50.0, 50.0).merged()
        assert [made.accuracy for made in records] == [50.0]
        assert conflicts == []

    def test_a_conflict_names_the_cell_and_what_each_store_says(self, tmp_path: Path) -> None:
        records, (conflict,) = self.stores(tmp_path, 50.0, 50.0, 60.0).merged()
        assert [made.accuracy for made in records] == [50.0]
        assert "digits O-P TCA" in conflict
        assert f"50.00 in {tmp_path / '0'}" in conflict
        assert f"60.00 in {tmp_path / '2'}" in conflict

    def test_a_failed_cell_gives_way_to_a_good_one(self, tmp_path: Path) -> None:
        records, conflicts = self.stores(tmp_path, None, 60.0).merged()
        assert [made.accuracy for made in records] == [60.0]
        assert conflicts == []

    def test_the_report_says_the_conflict_and_exits_with_1(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.stores(tmp_path, 50.0, 60.0)
        assert main(["report", "--results", str(tmp_path / "0"), str(tmp_path / "1")]) == 1
        shown = capsys.readouterr()
        assert "conflict, the first stands: digits O-P TCA" in shown.err
        assert "50.0" in shown.out
        assert "60.0" not in shown.out


class TestPlanning:
    def test_composes_once_for_each_choice_of_groups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        composing = []
        original = Loader.load_configuration

        def counted(self: Loader, config_name: str, overrides: list[str], *rest: object, **named: object) -> object:
            composing.append(overrides)
            return original(self, config_name, overrides, *rest, **named)

        monkeypatch.setattr(Loader, "load_configuration", counted)
        plan = Sweep(["method=one_nn,pca", "seed=range(20)", "classifier.standardise=no,source"])
        assert len(plan.cells) == 6 * 2 * 20 * 2
        assert len(composing) == 2

    def test_copies_of_the_loader_share_what_was_composed(self) -> None:
        plan = Sweep(["method=one_nn", "task=O-P"])
        copy = pickle.loads(pickle.dumps(plan.loader))
        before = composed.cache_info().misses
        copy.load_sweep_config(plan.master, list(plan.cells[0].overrides))
        assert composed.cache_info().misses == before

    def test_a_dict_of_one_cell_leaves_nothing_in_the_next(self) -> None:
        """A value that is merged, rather than set, must be composed for each cell."""
        plan = Sweep(["task=O-P", "method=one_nn", "method.run={baseline:pca},{trained_on:target}"])
        runs = [cell.config.method.run for cell in plan.cells]
        assert [run.baseline for run in runs] == ["pca", None]
        assert [run.trained_on for run in runs] == ["source", "target"]


@pytest.mark.parametrize(
    ("typed", "cores", "jobs", "expected", "set_to"),
    [
        ("joblib n_jobs=-1", 8, 100, Share(None, 1), {"n_jobs": 8}),
        ("joblib n_jobs=-1 threads=4", 8, 100, Share(None, 4), {"n_jobs": 2}),
        ("joblib n_jobs=-1", 8, 3, Share(None, 2), {"n_jobs": 3}),
        ("joblib n_jobs=2", 8, 100, Share(None, 4), {"n_jobs": 2}),
        ("joblib n_jobs=16", 8, 100, Share(None, 1), {"n_jobs": 16}),
        ("joblib n_jobs=2 threads=1", 8, 100, Share(None, 1), {"n_jobs": 2}),
        ("joblib n_jobs=2", 8, 39, Share(None, 4), {"batch_size": 1, "pre_dispatch": 4}),
        ("joblib n_jobs=2", 8, 366, Share(None, 4), {"batch_size": launch.BATCH, "pre_dispatch": 4 * launch.BATCH}),
        ("joblib n_jobs=2 batch_size=3", 8, 366, Share(None, 4), {"batch_size": 3, "pre_dispatch": 12}),
        ("joblib n_jobs=2 pre_dispatch=5", 8, 366, Share(None, 4), {"batch_size": launch.BATCH, "pre_dispatch": 5}),
        ("submitit_local", 8, 100, Share(8, 1), {"cpus_per_task": 1}),
        ("submitit_local threads=3", 8, 100, Share(2, 3), {"cpus_per_task": 3}),
        ("submitit_slurm cpus_per_task=6", 8, 5000, Share(launch.ARRAY, 6), {"cpus_per_task": 6}),
        ("submitit_slurm threads=2", 8, 100, Share(launch.ARRAY, 2), {"cpus_per_task": 2}),
        ("basic", 8, 100, Share(None, None), {}),
    ],
)
def test_workers_never_use_more_cores_than_there_are(
    typed: str, cores: int, jobs: int, expected: Share, set_to: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *settings = typed.split()
    chosen = dict(setting.split("=") for setting in settings)
    threads = chosen.pop("threads", None)
    launcher = {"n_jobs": -1, "batch_size": "auto", "pre_dispatch": "2*n_jobs", "cpus_per_task": None} | {
        key: int(value) for key, value in chosen.items()
    }
    master = OmegaConf.create({
        "hydra": {"launcher": launcher, "runtime": {"choices": {"hydra/launcher": name}}},
        "runtime": {"threads": threads and int(threads), "device": "cpu", "per_gpu": 1},
    })  # fmt: skip
    monkeypatch.setattr(launch, "available_cores", lambda: cores)
    assert shared(master, jobs) == expected
    for key, value in set_to.items():
        assert master.hydra.launcher[key] == value


def test_joblib_has_no_more_workers_than_the_gpus_have_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    master = OmegaConf.create({
        "hydra": {"launcher": {"n_jobs": -1, "batch_size": 1, "pre_dispatch": 4}, "runtime": {"choices": {"hydra/launcher": "joblib"}}},
        "runtime": {"threads": None, "device": "auto", "per_gpu": 2},
    })  # fmt: skip
    monkeypatch.setattr(launch, "available_cores", lambda: 16)
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 2)
    assert shared(master, 100) == Share(None, 4)
    assert master.hydra.launcher.n_jobs == 4


CLAIM = """
import sys
from pathlib import Path
from tda.devices import claimed
print(claimed(["gpu-a", "gpu-b"], int(sys.argv[2]), Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Callable[[int], tuple[int, subprocess.Popen[str]]]]:
    """Start processes that claim one of two devices and hold it until they are ended."""
    started = []

    def one(share: int) -> tuple[int, subprocess.Popen[str]]:
        command = [sys.executable, "-c", CLAIM, str(tmp_path / "locks"), str(share)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline()), process

    yield one
    for process in started:
        process.communicate()


@pytest.mark.slow
def test_each_process_has_a_gpu_to_itself_until_it_is_killed(
    claim: Callable[[int], tuple[int, subprocess.Popen[str]]],
) -> None:
    (first, process), (second, _) = claim(1), claim(1)
    assert {first, second} == {0, 1}
    process.kill()
    process.wait()
    assert claim(1)[0] == first


def test_as_many_processes_share_a_gpu_as_are_told_to(tmp_path: Path) -> None:
    assert Counter(claimed(["gpu-a", "gpu-b"], 2, tmp_path) for _ in range(4)) == {0: 2, 1: 2}


def test_what_a_launcher_keeps_of_a_job_is_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Hydra's launchers keep what every job returns until the last has ended, two configurations each."""
    config = OmegaConf.create({"hydra": {"job": {"num": 0}, "overrides": {"task": []}}})
    job = JobReturn(cfg=config, hydra_cfg=config, status=JobStatus.COMPLETED)
    job.return_value = record()
    Progress(cells=2, swept=[]).on_job_end(config, job)
    assert "[1/2] O-P" in capsys.readouterr().err
    assert (job.cfg, job.hydra_cfg, job.return_value) == (None, None, None)


def test_a_line_of_progress_has_what_tells_its_cell_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["method=tca", "method.dim=2,3", "method.lam=0.5", "task=O-P", f"results={tmp_path}"]
    assert main(["run", *typed]) == 0
    lines = [line.split() for line in capsys.readouterr().err.splitlines() if line.startswith("[")]
    assert [(line[2], line[-1]) for line in lines] == [("TCA", "method.dim=2"), ("TCA", "method.dim=3")]
    assert not any("method.lam" in word for line in lines for word in line)
