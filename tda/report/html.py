"""A report as one self-contained HTML page: readable offline, in light and dark, on a desk and on a phone."""

from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path

from tda import compare, regret
from tda.errors import UsageError
from tda.report import figures
from tda.report.drawing import Shown, some
from tda.report.figures import compared
from tda.report.formats import GAP, commands, distance_legend, plural, significant, title
from tda.report.markup import Grid, box, boxed, code, figure, grid_table, known, place
from tda.report.statistics import ALPHA, Statistics, paired, ranked, sentences, statistics
from tda.report.table import AVERAGE, Row, Table, tables
from tda.store import Record, Store

ROWS = 200  # of a table of accuracies
FAILURES = 100
BUILDS = 20
DRAWN = 6  # datasets with figures
SECTIONS = {
    "glance": ("At a glance", ""),
    "ranks": ("Do the methods differ?", ""),
    "curves": ("Along training", "`trainer.watch_every=50`"),
    "confusion": ("Class by class", ""),
    "features": ("Features before and after", "`keep_features=true`"),
    "distances": ("Distance between the domains", "`distances=[a_distance,mmd2]`"),
}


def page(records: Sequence[Record], store: Store, command: str) -> str:
    """Return the page of these records.

    Parameters
    ----------
    records : sequence of Record
        At least one.
    store : Store
        Where they are from: the tables there, of every folder, say which command made them.
    command : str
        The command that makes this page.
    """
    made = tables(records)
    of_dataset: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        of_dataset[record.dataset].append(record)
    beside = Path(__file__).with_name
    style, script = (beside(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    allowed = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'"
    body = "\n".join(
        [
            *header(made, records),
            *(
                part
                for number, table in enumerate(made)
                for part in dataset(number, table, of_dataset[table.dataset], store)
            ),
            *provenance(records, store, command),
        ]
    )
    names = ", ".join(table.dataset for table in made)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>tda: {escape(names)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>"
    )


def header(made: Sequence[Table], records: Sequence[Record]) -> Iterator[str]:
    """Yield the head of the page: what there is, and where."""
    failed = sum(record.status == "failed" for record in records)
    counts = {
        "cell": len(records),
        "dataset": len(made),
        "task": sum(len(table.tasks) for table in made),
        "configuration": sum(len(table.rows) for table in made),
        "failed cell": failed,
    }
    facts = [plural(count, noun).split(" ", 1) for noun, count in counts.items()]
    facts.append([duration(sum(record.seconds for record in records)), "of computing"])
    yield "<header>\n<h1>Unsupervised domain adaptation</h1>"
    days = sorted(record.created[:10] for record in records)
    yield f'<p class="muted">Run {escape(" to ".join(dict.fromkeys([days[0], days[-1]])))}</p>'
    yield '<dl class="facts">'
    yield from (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for value, name in facts)
    yield "</dl>"
    links = [(f"d{i}", table.dataset) for i, table in enumerate(made)]
    links += [("failures", "Failures")] * bool(failed) + [("provenance", "How this was made")]
    yield '<nav aria-label="Sections"><ul>'
    yield from (f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name in links)
    yield "</ul></nav>\n</header>\n<main>"


def duration(seconds: float) -> str:
    """Return a time span in its largest unit.

    Examples
    --------
    >>> duration(41.2), duration(600), duration(9000)
    ('41 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def dataset(number: int, table: Table, records: Sequence[Record], store: Store) -> Iterator[str]:
    """Yield the section of one dataset."""
    made = statistics(table)
    yield f'<section aria-labelledby="d{number}">\n<h2 id="d{number}">{escape(table.dataset)}</h2>'
    yield f'<p class="lead">{escape(lead(table))}</p>'
    yield from accuracy_table(table)
    on_page = {row.setting for row in uppermost(table)}
    yield from comparison([record for record in records if record.setting in on_page])
    absent = []
    drawn: dict[str, list[Shown]] = defaultdict(list)
    for shown in figures.figures(table, made, records, store) if number < DRAWN else ():
        drawn[shown.section].append(shown)
    for name, (heading, how) in SECTIONS.items():
        if name == "ranks" and made.methods:
            yield from ranks(made, drawn[name], f"d{number}-{name}")
        elif drawn[name]:
            yield f"<h3>{heading}</h3>"
            yield from gallery(drawn[name], f"d{number}-{name}")
        elif how and not (name == "distances" and table.distances):
            absent.append(f"{heading.lower()} ({how})")
    chosen = list(selection(records))
    yield from chosen
    if not chosen:
        judged = any(record.scores for record in records)
        how = "at least two candidates that validators have judged" if judged else "`selection=scores`"
        absent.append(f"chosen without target labels ({how})")
    if number >= DRAWN:
        absent = [
            f"figures, which are drawn of the first {DRAWN} datasets (`tda report --dataset {table.dataset} --html`)"
        ]
    if absent:
        yield f'<p class="muted">Not shown: {code("; ".join(absent))}.</p>'
    yield "</section>"


def gallery(drawn: Sequence[Shown], identifier: str) -> Iterator[str]:
    """Yield figures side by side, what is said of all of them once."""
    captions = {shown.caption for shown in drawn}
    common = drawn[0].caption if len(drawn) > 1 and len(captions) == 1 else ""
    if common:
        yield f'<p class="muted">{escape(common)}</p>'
    yield '<div class="figures">'
    for i, shown in enumerate(drawn):
        yield figure(shown, f"{identifier}-{i}", common, alone=len(drawn) == 1)
    yield "</div>"


def ranks(made: Statistics, drawn: Sequence[Shown], identifier: str) -> Iterator[str]:
    """Yield what the tests over tasks say."""
    yield f"<h3>{SECTIONS['ranks'][0]}</h3>"
    yield f'<p>{escape(" ".join(sentences(made)))}</p><div class="figures">'
    yield from rank_table(made)
    for shown in drawn:
        yield figure(shown, identifier, "", alone=True)
    yield "</div>"
    yield from pair_table(made)


def lead(table: Table) -> str:
    """Say what the table comes to."""
    rows = [row for row in compared(table) if row.average is not None]
    if not rows:
        return f"{title(table)[0].upper()}{title(table)[1:]}. No method has an accuracy on every task yet."
    best = rows[0]
    names = table.names
    said = f"{names[best.setting]} has the best average, {best.average:.1f} %"
    below = next((row for row in table.rows if row.setting == best.baseline), None)
    if below is not None and below.average is not None and best.average is not None:
        said += f", {best.average - below.average:+.1f} points on {names[below.setting]}"
    negative = [names[row.setting] for row in rows if row.entries[AVERAGE].negative]
    if negative:
        said += f". Below their baseline on average: {', '.join(negative[:5])}"
        said += f" and {len(negative) - 5} more" if len(negative) > 5 else ""
    return f"{said}. {title(table)[0].upper()}{title(table)[1:]}."


def uppermost(table: Table) -> list[Row]:
    """Return the rows that the page shows, the best average first, then the oracles."""
    oracles = [row for row in table.rows if row.oracle]
    return [*compared(table)[: max(ROWS - len(oracles), 1)], *reversed(oracles)][:ROWS]


def accuracy_table(table: Table) -> Iterator[str]:
    """Yield the table of accuracies; of very many rows the best."""
    rows = uppermost(table)
    gaps = any(row.gap is not None for row in rows)
    several = len({row.backbone for row in rows}) > 1
    head = ["Method", *(["Features"] if several else []), *table.tasks, AVERAGE, *table.distances]
    heads = "".join(
        f'<th scope="col"{" class=name" if i < 1 + several else ""}>{escape(name)}</th>'
        for i, name in enumerate([*head, *([GAP] if gaps else [])])
    )
    lines = [accuracy_line(table, row, several, gaps) for row in rows]
    legend = (
        "Per cent of target samples, mean and standard deviation over seeds; target labels are used for scoring only. "
        '<span class="best">Best</span> and <span class="second">second best</span> of a column. '
        '<span class="bad">↓</span> negative transfer: below the method’s own baseline. '
        "<em>Oracles</em> use target labels and never compete."
        + (" Gap closed: (method − source-only) / (target-trained − source-only)." if gaps else "")
        + escape("".join(f" {said}" for said in distance_legend(table)))
        + code(some(len(rows), len(table.rows), "rows", "the best averages; `tda report --format csv` has all"))
    )
    inner = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    yield from boxed(f"Accuracies on {table.dataset}", inner, len(rows), legend)


def accuracy_line(table: Table, row: Row, several: bool, gaps: bool) -> str:
    """Return a line of the table of accuracies."""
    label = f"{row.label} (oracle)" if row.oracle else row.label
    cells = [f'<th scope="row" class="name">{escape(label)}</th>']
    cells += [f'<td class="name">{escape(row.backbone)}</td>'] if several else []
    cells += [place(row.entries[task]) for task in table.tasks]
    cells += [place(row.entries[AVERAGE], "average")]
    cells += [known(row.distances.get(name), significant) for name in table.distances]
    cells += [known(row.gap, "{:.0f} %".format)] if gaps else []
    return f"<tr{' class=oracle' if row.oracle else ''}>{''.join(cells)}</tr>"


def comparison(records: Sequence[Record]) -> Iterator[str]:
    """Yield our accuracies beside the reported ones: a line for each row that can be compared, then everything."""
    made = compare.compare(records)
    if not made:
        return
    yield "<h3>Beside the reported numbers</h3>"
    alike = [one for one in made if not one.unlike]
    lines = []
    for one in alike:
        cell = one.cells[-1]
        ours, theirs = f"{cell.ours:.{cell.digits}f}", f"{cell.reported:.{cell.digits}f}"
        difference = "" if cell.difference is None else compare.signed(cell.difference, cell.digits)
        besides = "; ".join([*one.caveats, *([f"average {one.averaged}"] if one.averaged else [])])
        verdict = "misprinted" if cell.misprinted else cell.verdict or "spread unknown"
        lines.append([one.ours.label, cell.task, ours, theirs, difference, verdict, besides, one.source])
    if lines:
        head = ["Method", "On", "Ours", "Reported", "Difference", "Verdict", "What differs besides", "Source"]
        yield from box("Beside the reported numbers", Grid("", head, lines, frozenset({2, 3, 4}), frozenset({6, 7})))
    apart = len(made) - len(alike)
    said = f"{apart} reported rows differ in features, protocol or data and get no difference. " if apart else ""
    yield f'<p class="muted">{escape(said + compare.LEGEND)}</p>'
    yield "<details><summary>Task by task, and what cannot be compared</summary>"
    for block in compare.blocks(made):
        yield f"<h4>{escape(block.title)}</h4>"
        if block.lines:
            numbers = frozenset(range(1, len(block.head)))
            yield from boxed(
                block.title, grid_table(Grid("", block.head, block.lines, numbers), "plain"), len(block.lines)
            )
        listed = [*block.sources, *(f"not comparable: {line}" for line in block.incomparable)]
        yield f'<ul class="muted">{"".join(f"<li>{escape(line)}</li>" for line in listed)}</ul>'
    yield "</details>"


def selection(records: Sequence[Record]) -> Iterator[str]:
    """Yield how well validators choose, for each kind of pool that these records have; nothing where none was asked."""
    if not any(record.scores for record in records):
        return
    boxes: list[str] = []
    for over, pool in regret.POOLS.items():
        try:
            head, *lines = regret.totals(regret.judgements(records, over))
        except UsageError:
            continue
        caption = f"{pool.what[0].upper()}{pool.what[1:]}"
        boxes += box(caption, Grid(caption, head, lines, frozenset(range(1, len(head)))))
    if boxes:
        yield "<h3>Chosen without target labels</h3>"
        yield f'<p class="muted">{escape(regret.LEGEND)}</p><div class="figures">'
        yield from boxes
        yield "</div>"


def rank_table(made: Statistics) -> Iterator[str]:
    """Yield averages with their intervals, and mean ranks."""
    head = ["Method", "Average", f"{100 * (1 - ALPHA):.0f} % interval", "Mean rank"]
    yield from box("Mean ranks", Grid("", head, ranked(made), frozenset({1, 3})))


def pair_table(made: Statistics) -> Iterator[str]:
    """Yield the tests of pairs of methods."""
    if made.pairs:
        head = ["Method", "against", "better on", "worse on", "p", "p, Holm"]
        caption = "Wilcoxon’s signed-rank test over the tasks, two-sided and exact, and adjusted for all pairs tested."
        yield f"<details><summary>{plural(len(made.pairs), 'pair')} of methods</summary>"
        yield from box("Pairs of methods", Grid(caption, head, paired(made), frozenset({2, 3, 4, 5})))
        yield "</details>"


def provenance(records: Sequence[Record], store: Store, command: str) -> Iterator[str]:
    """Yield the failures with their reasons, then the commands, versions, commits and data behind the page."""
    yield from failures([record for record in records if record.status == "failed"])
    yield '</main>\n<footer>\n<h2 id="provenance">How this was made</h2>'
    yield f"<p>This page:</p><pre>{escape(command)}</pre>"
    keys = {record.key for record in records}
    found = commands(store, keys)
    if found:
        told = "\n".join(f"{made}  # {plural(len(held), 'cell')}" for made, held in found.items())
        yield f"<p>The records, as the tables beside them say:</p><pre>{escape(told)}</pre>"
    known = set().union(*found.values())
    if untold := [record for record in records if record.key not in known]:
        yield f"<p>Of {plural(len(untold), 'cell')} no table there says which command made them.</p>"
        if alone := [record.command for record in untold if record.command]:
            yield f"<p>The records of {len(alone):,} say what runs each alone again; the first:</p>"
            yield f"<pre>{escape(alone[0])}</pre>"
    builds = Counter((record.commit or "unknown", tuple(sorted(record.versions.items()))) for record in records)
    names = sorted({name for record in records for name in record.versions})
    lines = [
        [revision, *(dict(versions).get(name, "") for name in names), f"{count}"]
        for (revision, versions), count in builds.most_common(BUILDS)
    ]
    head = ["Commit", *names, "Cells"]
    caption = "A + after a commit: files were changed since." + some(len(lines), len(builds), "builds", "the most used")
    yield from box("Versions", Grid(caption, head, lines, frozenset({len(head) - 1})))
    skipped = {file for record in records for file in record.skipped}
    if skipped:
        listed = "".join(f"<li>{escape(file)}</li>" for file in sorted(skipped)[:FAILURES])
        more = escape(some(min(len(skipped), FAILURES), len(skipped), "files", "the first"))
        count = plural(len(skipped), "file")
        yield f"<details><summary>{count} could not be read and left out.{more}</summary>"
        yield f"<ul>{listed}</ul></details>"
    yield "</footer>"


def failures(failed: Sequence[Record]) -> Iterator[str]:
    """Yield the cells that failed, those with one reason together."""
    if not failed:
        return
    alike: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in failed:
        alike[record.dataset, record.label, record.error or "no reason was recorded"].append(record)
    shown = list(alike.items())[:FAILURES]
    lines = []
    for (where, label, error), cells in shown:
        tasks = ", ".join(dict.fromkeys(record.task for record in cells))
        trace = next((record.traceback for record in cells if record.traceback), None)
        detail = f"<details><summary>traceback</summary><pre>{escape(trace)}</pre></details>" if trace else ""
        lines.append(
            f'<tr><th scope="row" class="name">{escape(label)}</th><td class="name">{escape(where)}</td>'
            f'<td class="name wrap">{escape(tasks)}</td><td>{len(cells)}</td>'
            f'<td class="name wrap">{escape(error)}{detail}</td></tr>'
        )
    yield f'<section aria-labelledby="failures">\n<h2 id="failures">{plural(len(failed), "cell")} failed</h2>'
    if len(shown) < len(alike):
        yield f"<p>{some(len(shown), len(alike), 'reasons', 'the first')}</p>"
    heads = "".join(f'<th scope="col" class="name">{name}</th>' for name in ("Method", "Dataset", "Tasks"))
    heads += '<th scope="col">Cells</th><th scope="col" class="name">Reason</th>'
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    yield from boxed("Failures", table, len(lines))
    yield "</section>"
