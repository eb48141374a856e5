"""The command line: ``tda run``, ``tda report``, ``tda data``, ``tda list``."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

from tda import __version__, report
from tda.cache import atomic
from tda.errors import UsageError, unknown
from tda.resources import folder
from tda.store import Store

if TYPE_CHECKING:
    from tda.data.base import Dataset
    from tda.data.catalogue import Source

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
        "data",
        help="data sets: what is there, get it, check it, count it",
        formatter_class=raw,
        description="Look after the data sets on this machine.",
        epilog=dedent("""\
            examples:
              tda data list                           which data sets are here, and how to get the others
              tda data fetch mnist_usps               download, check and unpack; an interrupted download goes on
              tda data fetch office31 --from domain_adaptation_images.tar.gz     unpack what you got from its owners
              tda data verify office31                its classes and counts beside the published ones
              tda data stats image_folder dataset.root=photographs               the same of a folder of your own

            exit codes: 0 fine, 1 it differs or cannot be had, 2 wrong usage"""),
    )
    actions = command.add_subparsers(required=True, metavar="ACTION")
    for action, about, call in (
        ("list", "whether each data set is here, its size and its licence", list_data),
        ("fetch", "download a data set, or say where its owners publish it and where to put it", fetch_data),
        ("verify", "compare files, classes and counts with the published ones", verify_data),
        ("stats", "samples, classes and sizes of each domain", data_statistics),
    ):
        command = actions.add_parser(action, help=about, description=about[0].upper() + about[1:] + ".")
        command.add_argument(
            "--data", type=Path, metavar="PATH", help="the data folder (default: $TDA_DATA, else a cache)"
        )
        command.set_defaults(call=call)
    for action in ("fetch", "verify", "stats"):
        actions.choices[action].add_argument("name", metavar="NAME", help="one of `tda list datasets`")
    for action in ("verify", "stats"):
        actions.choices[action].add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for `tda run`")
    actions.choices["fetch"].add_argument(
        "--from", dest="archives", nargs="+", type=Path, default=[], metavar="ARCHIVE", help="unpack these, zip or tar"
    )

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


def list_data(options: argparse.Namespace) -> int:
    """Print of every data set whether its files are here, how to get them, their size and licence."""
    from tda.data.catalogue import catalogue

    data = data_folder(options)
    rows = [("DATASET", "FILES OF", "STATE", "TO GET", "SIZE", "LICENCE")]
    for name, needed in catalogue():
        rows += [
            (name, one.name, one.state(data), "fetch" if one.automatic else "by hand", one.size, one.licence)
            for one in needed
        ] or [(name, *"-----")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"data folder: {data} (--data PATH, or the environment's TDA_DATA)", file=sys.stderr)
    return 0


def fetch_data(options: argparse.Namespace) -> int:
    """Bring a data set to the data folder, and verify it; exit code 1 if it cannot be had."""
    from tda.data.catalogue import obtain
    from tda.data.download import FetchError

    data = data_folder(options)
    try:
        for one in sources_of(options.name):
            print(f"{one.name}: {obtain(one, data, options.archives)}", file=sys.stderr)
    except FetchError as error:
        print(f"tda: {error}", file=sys.stderr)
        return 1
    return verify_data(argparse.Namespace(name=options.name, data=data, overrides=[]))


def verify_data(options: argparse.Namespace) -> int:
    """Print how a data set differs from what was published; exit code 1 if it does."""
    from tda.data.catalogue import used, verify

    data = data_folder(options)
    dataset = dataset_of(options.name, data, options.overrides)
    if problems := verify(dataset, sources_of(options.name), data):
        print("\n".join(problems))
        return 1
    domains = used(dataset)
    samples = sum(dataset.census(name).total() for name in domains)
    against = "as published" if dataset.counts else "no published counts to compare with"
    print(f"{dataset.name}: {samples:,} samples, {len(dataset.classes)} classes, {len(domains)} domains: {against}")
    return 0


def data_statistics(options: argparse.Namespace) -> int:
    """Print what each domain of a data set holds."""
    from tda.data.catalogue import statistics

    for domain in statistics(dataset_of(options.name, data_folder(options), options.overrides)):
        (few, least), (many, most) = domain.smallest, domain.largest
        print(
            f"{domain.name} ({domain.what}): {domain.samples:,} samples of {domain.classes} classes, "
            f"from {least} of {few!r} to {most} of {many!r}; {domain.shape}"
        )
    return 0


def data_folder(options: argparse.Namespace) -> Path:
    """Return the data folder: as typed, else as in a run."""
    from tda.config import Runtime

    return Path(options.data or Runtime().data).expanduser().resolve()


def sources_of(name: str) -> "list[Source]":
    """Return what a data set needs from elsewhere."""
    from tda.data.catalogue import catalogue

    known = dict(catalogue())
    if name not in known:
        raise unknown("dataset", name, known)
    return known[name]


def dataset_of(name: str, data: Path, overrides: Sequence[str]) -> "Dataset":
    """Build a data set of the configuration, its files below `data`."""
    from hydra import compose

    from tda.config import build, changed, composer, usage_errors

    sources_of(name)
    typed = [f"dataset={name}", *overrides]
    with usage_errors(typed), composer():
        config = changed(compose("config", typed), {"runtime": {"data": str(data)}})
        dataset: Dataset = build(config.dataset, "dataset", config.allow_external)
    return dataset


def choices(group: str) -> Iterator[Path]:
    """Yield the configs of a group."""
    yield from sorted((folder("conf") / group).glob("*.yaml"))


if __name__ == "__main__":
    sys.exit(main())
