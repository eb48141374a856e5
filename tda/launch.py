"""The cells of a sweep handed to one of Hydra's launchers, each worker with its share of the machine."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import Any, NamedTuple

import torch
from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from tda.config import Cell, Sweep, composer, one_line
from tda.devices import available_cores
from tda.errors import UsageError
from tda.run import main

ARRAY = 1000  # jobs that Slurm takes at once, unless its MaxArraySize was changed
BATCH = 8  # cells that joblib hands to a worker at once: neighbours, which share what they compute


PARTS = ("hydra._internal.core_plugins.", "hydra.experimental.callbacks.", "hydra_plugins.", "tda.")
LOGGING = ("logging.Formatter", "logging.StreamHandler", "logging.FileHandler", "logging.handlers.", "colorlog.")
TRUSTED = {"_target_": PARTS, "()": LOGGING, "class": LOGGING}  # in Hydra's part, and in what it tells Python's logging


class Share(NamedTuple):
    """What a launcher may start, and what each worker may use.

    Attributes
    ----------
    jobs : int or None
        Given to the launcher at once; None: all.
    threads : int or None
        Of each worker; None: all cores.
    """

    jobs: int | None = None
    threads: int | None = None


def launch(plan: Sweep, cells: Sequence[Cell]) -> None:
    """Run cells of a sweep, each as one job of the launcher that ``hydra/launcher`` names.

    A launcher that breaks down, a worker of it killed for its memory, say, leaves cells without a record.

    Raises
    ------
    UsageError
        What a cell's configuration is to blame for; the other cells have been run.
    """
    master = plan.master
    if not master.allow_external:
        refuse_foreign(OmegaConf.to_container(master.hydra), "hydra")
    OmegaConf.set_readonly(master.hydra, False)
    share = shared(master, len(cells))
    size = master.hydra.sweeper.get("max_batch_size") or share.jobs or len(cells)
    own = [] if share.threads is None else [f"runtime.threads={share.threads}"]
    if "progress" in master.hydra.callbacks:
        master.hydra.callbacks.progress.cells = len(cells)
        master.hydra.callbacks.progress.swept = swept(plan.cells)
    with composer():
        HydraConfig.instance().set_config(master)
        callbacks = Callbacks(master)
        context = HydraContext(config_loader=plan.loader, callbacks=callbacks)
        try:
            launcher = Plugins.instance().instantiate_launcher(context, main, master)
        except RuntimeError as error:
            raise UsageError(f"hydra.launcher: {one_line(error)}; choose one by hydra/launcher=NAME") from None
        callbacks.on_multirun_start(config=master, config_name="config")
        raised = []
        for start in range(0, len(cells), size):
            jobs = [[*cell.overrides, *own] for cell in cells[start : start + size]]
            try:
                done = launcher.launch(jobs, initial_job_idx=start)
            except Exception as error:
                print(f"the launcher broke down: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
                break
            for job in done:
                try:
                    with redirect_stderr(StringIO()):  # where Hydra repeats the overrides
                        _ = job.return_value
                except Exception as error:
                    raised.append(error)
        if raised:
            raise raised[0]
        callbacks.on_multirun_end(config=master, config_name="config")


def refuse_foreign(node: Any, where: str) -> None:
    """Raise `UsageError` if Hydra's part of a configuration names something to call that is not `TRUSTED`."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        if key in TRUSTED and not str(value).startswith(TRUSTED[key]):
            raise UsageError(f"{where}.{key} = {value!r} lies outside tda; add allow_external=true if you trust it")
        refuse_foreign(value, f"{where}.{key}")


def swept(cells: Sequence[Cell]) -> list[str]:
    """Return the keys whose values tell cells apart, but for those that every line of progress has."""
    typed = {override.partition("=")[::2] for cell in cells for override in cell.overrides}
    several = Counter(key for key, _ in typed)
    return sorted(key for key, values in several.items() if values > 1 and key not in ("task", "method", "seed"))


def shared(master: DictConfig, cells: int) -> Share:
    """Share the machine out: threads of a worker = cores / workers, and no more workers than GPUs have room for.

    What was typed stands; what was left open is set, in `master` where it is the launcher's own.

    Parameters
    ----------
    master : DictConfig
        The sweep's configuration with Hydra's part.
    cells : int
        Number of cells to run.
    """
    launcher, threads, cores = master.hydra.launcher, master.runtime.threads, available_cores()
    match master.hydra.runtime.choices["hydra/launcher"]:
        case "joblib":
            if launcher.n_jobs == 0:
                raise UsageError("hydra.launcher.n_jobs=0: expected a number of workers, or -1 for one a core")
            if launcher.n_jobs < 0:
                most = max(1, cores + 1 + launcher.n_jobs) if threads is None else max(1, cores // threads)
                launcher.n_jobs = min(most, cells, gpu_slots(master) or most)
            if launcher.batch_size == "auto":
                launcher.batch_size = max(1, min(BATCH, cells // (20 * launcher.n_jobs)))
            if not str(launcher.batch_size).isdecimal() or not int(launcher.batch_size):
                raise UsageError(f"hydra.launcher.batch_size={launcher.batch_size}: expected auto, or 1 and more")
            if launcher.pre_dispatch == "2*n_jobs":  # the default: too few for two workers where a batch has several
                launcher.pre_dispatch = 2 * launcher.n_jobs * int(launcher.batch_size)
            return Share(threads=threads or max(1, cores // launcher.n_jobs))
        case "submitit_local":
            launcher.cpus_per_task = launcher.cpus_per_task or threads or 1
            most = max(1, cores // launcher.cpus_per_task)
            return Share(min(most, gpu_slots(master) or most), threads or launcher.cpus_per_task)
        case "submitit_slurm":
            launcher.cpus_per_task = launcher.cpus_per_task or threads or 1
            return Share(ARRAY, threads or launcher.cpus_per_task)
        case "ray":
            init, remote = launcher.ray.init, launcher.ray.remote
            if init.get("address"):  # the plugin's own default is refused by a cluster that is there already
                OmegaConf.update(init, "object_store_memory", None, force_add=True)
            cpus = remote.get("num_cpus") or threads or 1
            OmegaConf.update(remote, "num_cpus", cpus, force_add=True)
            return Share(threads=threads or max(1, int(cpus)))
    return Share()


def gpu_slots(master: DictConfig) -> int:
    """Return how many workers have room on this machine's GPUs; 0 where none is used."""
    wanted = master.runtime.device in ("auto", "cuda")
    return torch.cuda.device_count() * master.runtime.per_gpu if wanted else 0
