"""A line for each finished cell, with the time that is left; a Hydra callback."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from tda.store import Record


class Progress(Callback):
    """Print one line per cell. Workers of a parallel launcher carry a copy, so each prints its own cells' lines.

    Parameters
    ----------
    cells : int
        Number of cells that the sweep launches.
    swept : sequence of str
        Keys beside task, method and seed whose values tell its cells apart.
    """

    def __init__(self, *, cells: int, swept: Sequence[str]) -> None:
        self.cells = cells
        self.swept = swept
        self.started = time.time()

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Say what came of the cell, and when the last will be done if they go on like this.

        A launcher keeps what its jobs return until the last has ended; the record is in the store, and the
        configuration can be composed again, so neither is kept there.
        """
        if job_return.status != JobStatus.COMPLETED:
            return
        record: Record = job_return.return_value
        job_return.cfg = job_return.hydra_cfg = job_return.return_value = None
        done = 1 if OmegaConf.is_missing(config.hydra.job, "num") else config.hydra.job.num + 1
        left = (time.time() - self.started) / done * (self.cells - done)
        outcome = f"{record.accuracy:6.2f} %" if record.accuracy is not None else f"FAILED: {record.error}"
        seed = "" if record.seed is None else f"seed {record.seed}"
        typed = [o for o in config.hydra.overrides.task if o.partition("=")[0] in self.swept]
        line = f"[{done:>{len(str(self.cells))}}/{self.cells}] {record.task:<6} {record.label:<24} {seed:<7}"
        said = f"{line} {outcome}  {record.seconds:6.1f} s   ETA {duration(left):<12} {' '.join(typed)}"
        print(said.rstrip(), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time span as a person would say it.

    Examples
    --------
    >>> duration(5), duration(125), duration(7300)
    ('5 s', '2 min 05 s', '2 h 01 min')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    if hours:
        return f"{hours} h {m:02} min"
    return f"{m} min {s:02} s" if m else f"{s} s"
