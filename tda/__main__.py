"""The command line: ``tda run``, ``tda report``, ``tda list``."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

from tda import __version__, report
from tda.cache import atomic
from tda.errors import UsageError, unknown
from tda.resources import folder
from tda.store import Store

LISTED = {"methods": "method", "datasets": "dataset", "backbones": "backbone", "experiments": "experiment"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 fine, 1 something failed, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments[:1] == ["run"] and not {"-h", "--help"} & set(arguments):
            return run(arguments[1:])
        options = parser().parse_args(arguments)
        return int(options.call(options))
    except UsageError as error:
        print(f"tda: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\ntda: interrupted; finished cells are kept, and the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of everything but the overrides of ``tda run``, which are Hydra's."""
    raw = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="tda",
        formatter_class=raw,
        description="A benchmark runner for unsupervised domain adaptation.",
        epilog=dedent("""\
            examples:
              tda run experiment=demo                     the embedded digits, six tasks, nine methods
              tda run method=tca,coral                    two methods on all six tasks of the digits
              tda report                                  the table of everything in results/
              tda list methods                            what there is"""),
    )
    top.add_argument("--version", action="version", version=f"tda {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "run",
        help="sweep tasks, methods and seeds, and print the table",
        formatter_class=raw,
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

            exit codes: 0 fine, 1 a cell failed, 2 wrong usage"""),
    )

    command = commands.add_parser(
        "report",
        help="make the table again from what is in the results folder",
        formatter_class=raw,
        description="Print or write the accuracy table of the records in a results folder.",
        epilog=dedent("""\
            examples:
              tda report
              tda report --dataset digits --method tca coral
              tda report --format latex --output table.tex"""),
    )
    command.add_argument("--results", default="results", metavar="PATH", help="the results folder (default: results)")
    command.add_argument("--format", choices=report.FORMATS, default="text")
    command.add_argument("--output", type=Path, metavar="FILE", help="write there instead of printing")
    for key in ("dataset", "backbone", "method"):
        command.add_argument(f"--{key}", nargs="+", metavar="NAME", help=f"only these {key}s")
    command.set_defaults(call=make_report)

    command = commands.add_parser(
        "list",
        help="what there is: methods, datasets, backbones, experiments",
        formatter_class=raw,
        description="List what can be named in `tda run`, one line each.",
        epilog="examples:\n  tda list methods\n  tda list datasets",
    )
    command.add_argument("kind", choices=LISTED)
    command.set_defaults(call=show_list)
    return top


def run(arguments: Sequence[str]) -> int:
    """Run sweeps, one for each dataset, and print and write their tables."""
    from hydra._internal.utils import get_args_parser

    from tda.config import by_dataset

    flags = get_args_parser().parse_intermixed_args(arguments)
    if flags.experimental_rerun:
        raise UsageError("--experimental-rerun unpickles a file, which tda never does; repeat the command instead")
    if flags.config_path or flags.config_name:
        raise UsageError("--config-path and --config-name replace tda's own configuration; add to it with --config-dir")
    overrides = list(flags.overrides)
    if flags.config_dir:
        overrides.append(f"hydra.searchpath=[file://{Path(flags.config_dir).resolve()}]")
    if flags.run:
        overrides.append("hydra.mode=RUN")
    if flags.cfg or flags.info or flags.hydra_help or flags.shell_completion:
        launch([*flags.overrides, *(word for word in arguments if word not in flags.overrides)], overrides)
        return 0
    return max(sweep(one) for one in by_dataset(overrides))


def sweep(overrides: Sequence[str]) -> int:
    """Run the missing cells of one dataset's grid, print and write its table, and return the exit code."""
    from tda.config import Sweep

    plan = Sweep(overrides)
    config = plan.cells[0].config
    store = Store(config.results)
    store.check_writable()
    wanted = {cell.address: cell.config.method for cell in plan.cells}
    done = {place for place in wanted if (record := store.get(*place)) is not None and record.status == "ok"}
    missing = [cell for cell in plan.cells if cell.address not in done]
    print(f"{len(wanted)} cells: {len(done)} done already, {len(wanted) - len(done)} to run", file=sys.stderr)
    if missing:
        grid, launched = plan.only(missing)
        launch([*grid, f"hydra.callbacks.progress.cells={launched}"], overrides)
    records = [
        replace(record, label=method.label, baseline=method.run.baseline)
        for place, method in wanted.items()
        if (record := store.get(*place)) is not None
    ]
    if records:
        command = shlex.join(["tda", "run", *overrides])
        written = report.write(records, store.results / "tables", config.name, command)
        print(report.render(report.tables(records), "text"))
        print("written: " + ", ".join(map(str, written)), file=sys.stderr)
    failed = [record for record in records if record.status == "failed"]
    for record in failed:
        print(f"failed: {record.task} {record.label}: {record.error}", file=sys.stderr)
    lost = len(wanted) - len(records)
    if lost:
        print(f"{lost} cells left no record; the same command runs them again", file=sys.stderr)
    return int(bool(failed or lost))


def launch(arguments: Sequence[str], typed: Sequence[str]) -> None:
    """Hand `arguments` over to Hydra, which calls `tda.run.main` for each cell; `typed` is what errors speak of."""
    import hydra

    from tda.config import usage_errors
    from tda.run import main as run_cell

    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv = ["tda run", *arguments]
    with usage_errors(typed):
        hydra.main(config_path=str(folder("conf")), config_name="config", version_base=None)(run_cell)()


def make_report(options: argparse.Namespace) -> int:
    """Print or write the table of a results folder."""
    store = Store(options.results)
    if not store.records.is_dir():
        raise UsageError(f"{str(store.records)!r} does not exist; say where the records are with --results PATH")
    records = list(store.all())
    for key in ("dataset", "backbone", "method"):
        wanted = getattr(options, key)
        there = {getattr(record, key) for record in records}
        for name in wanted or []:
            if name not in there:
                raise unknown(f"{key} in these records", name, there)
        records = [record for record in records if wanted is None or getattr(record, key) in wanted]
    made = report.render(report.tables(records), options.format)
    if options.output is None:
        print(made)
        return 0
    try:
        with atomic(options.output) as path:
            path.write_text(made + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {str(options.output)!r}: {error.strerror}") from error
    return 0


def show_list(options: argparse.Namespace) -> int:
    """Print the names of one kind, each with its first line of comment."""
    described = {path.stem: path.read_text(encoding="utf-8") for path in choices(LISTED[options.kind])}
    width = max(map(len, described), default=0)
    for name, content in described.items():
        summary = next(line for line in content.splitlines() if not line.startswith("# @package"))
        print(f"{name:<{width}}  {summary.removeprefix('# ')}")
    return 0


def choices(group: str) -> Iterator[Path]:
    """Yield the configs of a group."""
    yield from sorted((folder("conf") / group).glob("*.yaml"))


if __name__ == "__main__":
    sys.exit(main())
