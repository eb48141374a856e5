"""``tda run``: sweep tasks, methods and seeds."""

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from textwrap import dedent
from typing import TYPE_CHECKING

from tda import report
from tda.commands import Commands, Parser, searchpath
from tda.errors import UsageError
from tda.resources import folder
from tda.store import Record, Store, mixed

if TYPE_CHECKING:
    from tda.config import Sweep


def add(commands: Commands) -> None:
    """Add this command's parser."""
    commands.add_parser(
        "run",
        help="sweep tasks, methods and seeds, and print the table",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="tda run [KEY=VALUE[,VALUE...] ...] [HYDRA FLAG ...]",
        description=dedent("""\
            Run every cell of a grid and print the table. The grid is written in Hydra's language: KEY=VALUE sets,
            KEY=A,B and KEY=range(3) sweep. Without task=..., every task of the dataset is run. Cells that are in the
            results folder already are not computed again, so an interrupted sweep is resumed by the same command."""),
        epilog=dedent("""\
            examples:
              tda run                                                 1-NN on the digits
              tda run method=one_nn,tca,coral classifier=linear_svm   three methods, the aligners before a linear SVM
              tda run method=tca method.dim=10,30,100 task=O-P        one parameter, one task
              tda run method=source_only,dann 'seed=range(3)'         three seeds
              tda run experiment=demo results=elsewhere               another results folder
              tda run method=dann --cfg job                           show the configuration, run nothing
              tda run --hydra-help                                    Hydra's own flags

            exit codes: 0 fine, 1 a cell failed, 2 wrong usage, 130 interrupted, 143 told to stop"""),
    )


def run(arguments: Sequence[str]) -> int:
    """Run sweeps, one for each dataset, and print and write their tables."""
    from hydra._internal.utils import get_args_parser

    from tda.config import Sweep, separate

    flags = Parser(prog="tda run", parents=[get_args_parser()], add_help=False).parse_intermixed_args(arguments)
    if flags.experimental_rerun:
        raise UsageError("--experimental-rerun unpickles a file, which tda never does; repeat the command instead")
    if flags.config_path or flags.config_name:
        raise UsageError("--config-path and --config-name replace tda's own configuration; add to it with --config-dir")
    if flags.shell_completion:
        raise UsageError("--shell-completion knows no program with commands, as tda is; tda list names what there is")
    overrides = list(flags.overrides)
    if flags.config_dir:
        overrides.append(searchpath(flags.config_dir))
    if flags.run:
        overrides.append("hydra.mode=RUN")
    if flags.cfg or flags.info or flags.hydra_help:
        show([*flags.overrides, *(word for word in arguments if word not in flags.overrides)], overrides)
        return 0
    plans = [(Sweep(one), one) for one in separate(overrides)]
    for name, count in Counter(plan.master.name for plan, _ in plans).items():
        if count > 1:
            raise UsageError(f"{count} sweeps would write one table, {name}: leave out name={name}, or run them apart")
    return max(sweep(plan, typed) for plan, typed in plans)


def sweep(plan: "Sweep", overrides: Sequence[str]) -> int:
    """Run the missing cells of one dataset's grid, print and write its table, and return the exit code."""
    if plan.unread:
        print(f"note: no method of this sweep reads {', '.join(plan.unread)}", file=sys.stderr)
    records = computed(plan, overrides)
    if records:
        command = shlex.join(["tda", "run", *overrides])
        written = report.write(records, Store(plan.master.results).results / "tables", plan.master.name, command)
        print(report.render(report.tables(records), "text"))
        print("written: " + ", ".join(map(str, written)), file=sys.stderr)
    for warning in mixed(records):
        print(warning, file=sys.stderr)
    failed = [record for record in records if record.status == "failed"]
    for record in failed:
        print(f"failed: {record.task} {record.label}: {record.error}", file=sys.stderr)
    lost = len({cell.address for cell in plan.cells}) - len(records)
    if lost:
        print(f"{lost} cells left no record; the same command runs them again", file=sys.stderr)
    return int(bool(failed or lost))


def computed(plan: "Sweep", overrides: Sequence[str]) -> list[Record]:
    """Run the cells of a grid that the store does not have yet, and return the records of all that have one."""
    from tda.config import usage_errors
    from tda.launch import launch

    store = Store(plan.master.results)
    store.check_writable()
    wanted = {cell.address: cell for cell in plan.cells}
    records = {place: store.get(*place) for place in wanted}
    done = {place for place, record in records.items() if record is not None and record.status == "ok"}
    if plan.master.keep_features:
        done = {place for place in done if store.embedding(*place).exists()}
    missing = [cell for place, cell in wanted.items() if place not in done]
    for warning in plan.outdated(record for place, record in records.items() if record is not None and place in done):
        print(warning, file=sys.stderr)
    print(f"{len(wanted)} cells: {len(done)} done already, {len(missing)} to run", file=sys.stderr)
    if missing:
        with usage_errors(overrides):
            launch(plan, missing)
    records |= {cell.address: store.get(*cell.address) for cell in missing}
    return [
        replace(record, label=wanted[place].label, baseline=wanted[place].baseline)
        for place, record in records.items()
        if record is not None
    ]


def show(arguments: Sequence[str], typed: Sequence[str]) -> None:
    """Let Hydra answer its own flags: ``--cfg``, ``--info``, ``--hydra-help``; `typed` is what errors speak of."""
    import hydra

    from tda.config import parsed, usage_errors
    from tda.run import main as run_cell

    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["tda run", *arguments]
    with usage_errors(typed):
        if swept := [override for override in typed if parsed(override).is_sweep_override()]:
            raise UsageError(f"the configuration of one cell is shown; give {swept[0].partition('=')[0]} one value")
        hydra.main(config_path=str(folder("conf")), config_name="config", version_base=None)(run_cell)()
