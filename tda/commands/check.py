"""``tda check``: whether the accuracies of an experiment are what they were."""

import argparse
import shlex
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent
from typing import TYPE_CHECKING

from tda import check
from tda.cache import check_room
from tda.commands import Commands, add_overrides, quoted, searchpath
from tda.commands.run import computed
from tda.errors import UsageError, unknown
from tda.report.formats import plural
from tda.report.table import AVERAGE
from tda.resources import config_names
from tda.store import Record

if TYPE_CHECKING:
    import pandas as pd

    from tda.config import Sweep

Cell = tuple[str, str, str]  # dataset, method, task
NARROWING = ("dataset", "method=", "task=", "shard=", "hydra.sweeper")  # without these, a cell that is lost is missing
NO_SETTING = (*NARROWING, "seed=", "name=", "runtime.", "hydra", "keep_features=", "allow_external=")


def add(commands: Commands) -> None:
    """Add this command's parser."""
    command = commands.add_parser(
        "check",
        help="compare an experiment's accuracies with what they were",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=dedent(f"""\
            Run an experiment and compare its accuracies, and their averages over tasks, with the baseline that is kept
            under its name. One has fallen if it is further below than {check.STANDARD_ERRORS} standard errors over the
            seeds of both, and further than {check.SAMPLES} scored samples."""),
        epilog=dedent("""\
            examples:
              tda check quick                                   compute anew and compare
              tda check quick method=dann task=O-P              a part of it
              tda check quick hydra/launcher=joblib             in parallel processes
              tda check office31_quick backbone.weights=FILE --results results     read what is there, run the rest
              tda check quick --update                          measure the baseline, ten seeds, and say what changed
              tda check quick method=dann --update              that method's lines alone
            exit codes: 0 as expected or better, 1 an accuracy fell, 2 it could not be judged, or wrong usage"""),
    )
    command.add_argument("experiment", metavar="EXPERIMENT", help="one of `tda list experiments`")
    add_overrides(command)
    command.add_argument(
        "--results", metavar="PATH", help="take the records that are there (default: none, all is computed anew)"
    )
    command.add_argument(
        "--baselines", type=Path, default=Path("results/baselines"), metavar="FOLDER", help="(default: %(default)s)"
    )
    command.add_argument(
        "--config-dir",
        type=Path,
        metavar="FOLDER",
        help="one's own configurations; EXPERIMENT may be of its experiment/",
    )
    command.add_argument("--update", action="store_true", help="measure the baseline anew instead")
    command.set_defaults(call=judge)


def judge(options: argparse.Namespace) -> int:
    """Compare or update, and return the exit code."""
    own = options.config_dir
    added = [] if own is None else [searchpath(own)]
    check_options(options)
    path = options.baselines / f"{options.experiment}.csv"
    expected = check.read(path) if path.exists() or not options.update else None
    with TemporaryDirectory() as elsewhere:
        overrides = [
            f"experiment={options.experiment}",
            *([f"seed=range({check.SEEDS})"] if options.update else []),
            *options.overrides,
            *added,
            f"results={quoted(str(options.results or elsewhere))}",
        ]
        plans = planned(overrides)
        wanted = {cell.address[:3] for plan, _ in plans for cell in plan.cells}
        narrowed = any(override.lstrip("+~").startswith(NARROWING) for override in options.overrides)
        if expected is not None and options.update:
            replaceable(path, check.cells(expected), wanted, narrowed)
        elif expected is not None:
            judgeable(path, check.cells(expected), wanted)
            if other := settings(options.overrides, check.commands(path)):
                print(
                    f"note: {path} was not measured with {', '.join(other)}; its first lines say how", file=sys.stderr
                )
        records = [record for plan, typed in plans for record in computed(plan, typed)]
    for record in records:
        if record.status == "failed":
            print(f"failed: {record.task} {record.label}: {record.error}")
    if options.update or expected is None:
        where = [] if own is None else ["--config-dir", str(own)]
        command = shlex.join(["tda", "check", options.experiment, *options.overrides, *where, "--update"])
        unmeasured = len({cell.address for plan, _ in plans for cell in plan.cells}) - len(records)
        return update(path, expected, records, command, unmeasured)
    lost = set() if narrowed else check.cells(expected) - wanted
    found = check.verdicts(expected, check.measured(records), wanted, lost)
    tell(found)
    return check.exit_code(found)


def check_options(options: argparse.Namespace) -> None:
    """Refuse, before anything is planned, what cannot be judged, and a baseline that could not be written."""
    from tda.config import expanded, parsed

    own = options.config_dir
    known = config_names("experiment") + ([] if own is None else config_names("experiment", own))
    if options.experiment not in known:
        raise unknown("experiment", options.experiment, known)
    for override in options.overrides:
        if override.lstrip("+~").startswith("experiment="):
            raise UsageError(f"{override}: tda check takes one experiment, and that is {options.experiment}")
        if override.lstrip("+~").startswith("results="):
            raise UsageError(f"{override}: tda check keeps its records apart; say --results PATH to have them there")
    if options.update:
        for override in options.overrides:
            if override.lstrip("+~").startswith("seed=") and len(expanded(parsed(override))) < check.SEEDS:
                raise UsageError(f"{override}: a baseline takes {check.SEEDS} seeds; leave seed= to --update")
        try:
            check_room(options.baselines)
        except OSError as error:
            raise UsageError(f"cannot write to {str(options.baselines)!r}: {error.strerror}; see --baselines") from None


def planned(overrides: list[str]) -> "list[tuple[Sweep, list[str]]]":
    """Return the sweeps of an experiment, one for each dataset, each with its overrides."""
    from tda.config import Sweep, separate

    return [(Sweep(one), one) for one in separate(overrides)]


def judgeable(path: Path, expected: set[Cell], wanted: set[Cell]) -> None:
    """Refuse, before anything is run, what no line of a baseline can judge."""
    if not expected & wanted:
        raise UsageError(
            f"{str(path)!r} has none of these cells; leave out dataset=, method= and task=, or add --update"
        )


def settings(overrides: list[str], commands: list[str]) -> list[str]:
    """Return the overrides that change what is computed and are in none of the commands that measured a baseline."""
    measured_with = {word for command in commands for word in shlex.split(command)}
    return [o for o in overrides if o not in measured_with and not o.lstrip("+~").startswith(NO_SETTING)]


def replaceable(path: Path, expected: set[Cell], wanted: set[Cell], narrowed: bool) -> None:
    """Refuse, before anything is run, an update that would lose cells which a baseline has.

    Of a part of the experiment it loses none of another method, so it has to have all tasks of its own.
    """
    lost = expected - wanted
    if narrowed:
        methods = {cell[:2] for cell in wanted}
        lost = {cell for cell in lost if cell[:2] in methods}
    if lost:
        raise UsageError(
            f"this would lose {len(lost)} of the cells of {str(path)!r}, {' '.join(min(lost))} for one; "
            f"leave out what narrows the {'tasks' if narrowed else 'experiment'}, or remove the file first"
        )


def update(path: Path, before: "pd.DataFrame | None", records: list[Record], command: str, unmeasured: int) -> int:
    """Write a baseline or a part of it, and print what that changes of the one before, if there was one.

    None is written where cells left no record (so many are `unmeasured`), or where one failed that had its line.
    """
    failed = {(record.dataset, record.method, record.task) for record in records if record.status == "failed"}
    if unmeasured or (before is not None and failed & check.cells(before)):
        print(f"{unmeasured} cells left no record and {len(failed)} failed: {path} is left as it was", file=sys.stderr)
        return 1
    if few := check.too_few_seeds(records):
        raise UsageError(f"a baseline takes {check.SEEDS} seeds; {', '.join(few)} had fewer: leave seed= to --update")
    baseline = check.measured(records)
    made_by = [command]
    if before is not None:
        tell(check.verdicts(before, baseline, check.cells(baseline)))
        if check.cells(before) - check.cells(baseline):
            baseline = check.merged(before, baseline)
            made_by = [*check.commands(path), command]
    check.write(path, baseline, *made_by)
    print(f"written: {path}")
    return int(any(record.status == "failed" for record in records))


def tell(found: list[check.Verdict]) -> None:
    """Print what is not as expected, then how many are what."""
    for verdict in found:
        if verdict.state != "as expected":
            print(verdict)
    counts = Counter((verdict.state, verdict.place[-1] == AVERAGE) for verdict in found)
    said = []
    for state in dict.fromkeys(verdict.state for verdict in found):
        parts = [(counts[state, False], "cell"), (counts[state, True], "average")]
        said.append(" and ".join(plural(n, what) for n, what in parts if n) + f" {state}")
    print(", ".join(said) or "nothing to judge")
