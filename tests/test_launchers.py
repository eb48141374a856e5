"""The same sweep by every launcher, really run: the same records, and what becomes of workers that are killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from tda.__main__ import main
from tda.methods.shallow.base import Standardise
from tda.methods.shallow.one_nn import OneNN
from tda.store import Store

SWEEP = ["run", "method=one_nn,coral", "task=O-P,P-O"]
SLURM = Path(__file__).parent.parent / "scripts" / "local_slurm.sh"


class Killer(OneNN):
    """1-NN, but the first worker that fits it is killed, as for want of memory."""

    def __init__(self, *, standardise: Standardise = "no", mark: str) -> None:
        super().__init__(standardise=standardise)
        self.mark = mark

    def fit(self, Xs: np.ndarray, ys: np.ndarray, Xt: np.ndarray, weights: np.ndarray | None = None) -> Self:
        if not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(Xs, ys, Xt, weights)


def made(results: Path) -> list[dict[str, Any]]:
    """Return what the records say, but for time."""
    return [{k: v for k, v in vars(r).items() if k not in {"seconds", "created"}} for r in Store(results).all()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the records of the sweep by Hydra's own launcher, in this process."""
    results = tmp_path_factory.mktemp("alone")
    assert main([*SWEEP, f"results={results}"]) == 0
    return made(results)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "settings"),
    [("joblib", ["hydra.launcher.n_jobs=2"]), ("submitit_local", ["hydra.sweeper.max_batch_size=2"])],
)
def test_processes_of_this_machine_make_the_same_records(
    launcher: str, settings: list[str], alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    plugin = "hydra_joblib_launcher" if launcher == "joblib" else "hydra_submitit_launcher"
    pytest.importorskip(f"hydra_plugins.{plugin}")
    assert main([*SWEEP, f"hydra/launcher={launcher}", *settings, f"results={tmp_path}"]) == 0
    assert made(tmp_path) == alone


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_cells_that_the_next_run_makes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    sweep = ["run", "method=one_nn", "method._target_=tests.test_launchers.Killer", "allow_external=true",
             f"+method.mark={tmp_path / 'mark'}", "task=O-P,P-O", f"results={tmp_path}",
             "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]  # fmt: skip
    assert main(sweep) == 1
    shown = capfd.readouterr().err
    assert "the launcher broke down: " in shown
    assert "left no record; the same command runs them again" in shown
    assert "Traceback" not in shown
    assert main(sweep) == 0
    assert len(made(tmp_path)) == 2


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start a Slurm controller and one node on loopback, and stop them."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None]
    if missing or os.getuid() != 0:
        pytest.skip(f"needs root and Debian's slurm-wlm and munge; missing: {', '.join(missing) or 'root'}")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SLURM, "start", folder], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        yield
    subprocess.run([SLURM, "stop", folder], check=True)


@pytest.mark.slurm
def test_a_slurm_cluster_makes_the_same_records(slurm: None, alone: list[dict[str, Any]], tmp_path: Path) -> None:
    assert main([*SWEEP, "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", f"results={tmp_path}"]) == 0
    assert made(tmp_path) == alone
    (script,) = (tmp_path / "hydra" / ".submitit").glob("*/*_submission.sh")
    assert "#SBATCH --array=0-3" in script.read_text()
    assert "#SBATCH --cpus-per-task=1" in script.read_text()


@pytest.mark.ray
@pytest.mark.timeout(400)
def test_a_ray_cluster_that_loses_a_node_in_mid_sweep_makes_every_record(tmp_path: Path) -> None:
    pytest.importorskip(
        "hydra_plugins.hydra_ray_launcher",
        reason="Ray's launcher is not installed: pip install -c .ci/constraints-ray.txt -e '.[dev,ray]', in a venv of its own",
    )
    from ray.cluster_utils import Cluster

    tasks, sweep = 6, ["method=source_only", "trainer.steps=8", "task=O-P,O-S,P-O,P-S,S-O,S-P"]
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert main(["run", *sweep, f"results={alone}"]) == 0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        ray = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address={cluster.address}", "runtime.threads=1"]
        command = [sys.executable, "-m", "tda", "run", *sweep, *ray, f"results={together}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as running:
            deadline = time.monotonic() + 120
            while not made(together) and time.monotonic() < deadline and running.poll() is None:
                time.sleep(0.1)
            left = tasks - len(made(together))
            cluster.remove_node(nodes[0], allow_graceful=False)
            said = running.communicate(timeout=250)[1]
        assert running.returncode == 0, said
        assert 0 < left < tasks
        assert made(together) == made(alone)
    finally:
        cluster.shutdown()
