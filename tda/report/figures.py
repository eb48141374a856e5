"""The figures of a report, each drawn small enough for a phone, from records and tables alone."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.stats import spearmanr

from tda.report.drawing import (
    ACCENT,
    INK,
    MUTED,
    PAPER,
    RULE,
    SERIES,
    WIDTH,
    Shown,
    drawn,
    legend,
    shortened,
    some,
    styled,
    tiles,
)
from tda.report.statistics import Statistics
from tda.report.table import AVERAGE, Row, Table
from tda.store import Record, Store

DOMAINS = ("#3f86c9", "#e07b39")  # of rasterised points, which cannot follow a theme
OTHERS = "#98a0a8"  # the same
PANELS = 6  # tasks of which curves, confusions or features are drawn
LINES = len(SERIES)  # methods in one set of axes
ROWS = 60  # methods in a heat map or a bar chart
CLASSES = 40  # in a plot of classes
TASK = 64  # letters of a task's name


def figures(table: Table, made: Statistics, records: Sequence[Record], store: Store) -> Iterator[Shown]:
    """Yield every figure that the records of one dataset have something for.

    Parameters
    ----------
    table : Table
    made : Statistics
        Of that table.
    records : sequence of Record
        Those that the table was made of.
    store : Store
        Where the embeddings are that runs with ``keep_features=true`` left.
    """
    with styled():
        yield from heat_map(table)
        yield from ranks(made)
        yield from curves(table, records)
        if chosen := best_with(table, records):
            yield from confusions(table, chosen, records)
            yield from classes(table, chosen, records)
        yield from embeddings(table, records, store)
        yield from distances(table, records)
        yield from times(table, records)


def compared(table: Table) -> list[Row]:
    """Return the rows that compete, the best average first."""
    rows = [row for row in table.rows if not row.oracle]
    return sorted(rows, key=lambda row: (-(row.average or 0.0), row.label, row.setting))


def best_with(table: Table, records: Sequence[Record]) -> Row | None:
    """Return the row with the best average among those whose records hold a confusion matrix."""
    having = {record.setting for record in records if record.confusion and record.accuracy_per_class}
    return next((row for row in compared(table) if row.setting in having), None)


def heat_map(table: Table) -> Iterator[Shown]:
    """Draw accuracy, method x task."""
    rows = [*[row for row in table.rows if row.oracle], *compared(table)]
    rows = [row for row in rows if any(row.entries[task].mean is not None for task in table.tasks)][:ROWS]
    if not rows:
        return
    names, columns = table.names, (*table.tasks, AVERAGE)
    values = np.array([[row.entries[column].mean for column in columns] for row in rows], dtype=float)
    low, high = np.nanmin(values), np.nanmax(values)
    shares = (values - low) / max(high - low, 1.0)
    texts = np.array([["" if np.isnan(v) else f"{v:.0f}" for v in line] for line in values])
    longest = min(max(map(len, columns)), TASK)
    upright = longest > 12
    figure, ax = drawn(
        0.62 + 0.21 * len(rows) + (0.062 * longest if upright else 0), max(WIDTH, 1.7 + 0.34 * len(columns))
    )
    tiles(ax, values, shares, texts)
    ax.set_xticks(
        np.arange(len(columns)) + 0.5, [shortened(column, TASK) for column in columns],
        rotation=90 if upright else 45 if longest > 5 else 0,
    )  # fmt: skip
    ax.xaxis.tick_top()
    ax.set_yticks(np.arange(len(rows)) + 0.5, [shortened(names[row.setting]) for row in rows])
    yield Shown(
        "glance", f"{table.dataset}-heat-map", "Every method on every task",
        f"Accuracy in per cent, from {low:.0f} (pale) to {high:.0f} (full). Oracles first, then the best average."
        + some(len(rows), len(table.rows), "methods", "the best averages"),
        f"Heat map of accuracy, {len(rows)} methods by {len(table.tasks)} tasks; the numbers are in the table above.",
        figure,
    )  # fmt: skip


def ranks(made: Statistics) -> Iterator[Shown]:
    """Draw average ranks with Nemenyi's critical difference (Demsar, JMLR 2006, figure 1)."""
    if made.distance is None:
        return
    count = len(made.methods)
    half = (count + 1) // 2
    height, bars = 0.2 * half, [set(group) for group in made.groups]
    figure, ax = drawn(0.75 + height + 0.1 * len(bars))
    top = len(bars) * 0.5 + 0.6
    ax.set(xlim=(1 - 0.55 * (count - 1), count + 0.55 * (count - 1)), ylim=(top + half, -1.9))
    ax.axis("off")
    ax.plot([1, count], [0, 0], color=INK, lw=1)
    for rank in range(1, count + 1) if count <= 8 else np.linspace(1, count, 6).round().astype(int):
        ax.plot([rank, rank], [0, -0.18], color=INK, lw=0.8)
        ax.text(rank, -0.3, str(rank), ha="center", va="bottom", fontsize=7, color=MUTED)
    for i, (name, rank) in enumerate(zip(made.methods, made.ranks, strict=True)):
        left = i < half
        level = top + (i if left else count - 1 - i)
        end = 1 - 0.04 * count if left else count + 0.04 * count
        ax.plot([rank, rank, end], [0, level, level], color=MUTED, lw=0.7)
        label = f"{shortened(name, 20)} {rank:.2f}" if left else f"{rank:.2f} {shortened(name, 20)}"
        ax.text(end, level, f" {label} ", ha="right" if left else "left", va="center", fontsize=7.5)
    place = dict(zip(made.methods, made.ranks, strict=True))
    for i, group in enumerate(bars):
        spread = [place[name] for name in group]
        ax.plot([min(spread) - 0.03, max(spread) + 0.03], [0.35 + 0.5 * i] * 2, color=ACCENT, lw=3)
    shown = min(made.distance, count - 1)
    ax.plot([1, 1 + shown], [-1.15, -1.15], color=ACCENT, lw=1.2, marker="|")
    ax.text(1 + shown / 2, -1.4, f"critical difference {made.distance:.2f}", ha="center", va="bottom", fontsize=7)
    yield Shown(
        "ranks", f"{made.dataset}-critical-difference", "Mean ranks and the critical difference",
        f"Mean rank over {made.tasks} tasks, 1 is best. A bar joins methods that Nemenyi’s test does not tell apart "
        "at 0.05." + ("" if made.distance < count - 1 else " With so few tasks that is all of them."),
        "Critical difference plot. Mean ranks: "
        + ", ".join(f"{name} {rank:.2f}" for name, rank in zip(made.methods, made.ranks, strict=True)) + ".",
        figure,
    )  # fmt: skip


def curves(table: Table, records: Sequence[Record]) -> Iterator[Shown]:
    """Draw accuracy along training, one figure a task, one line a method: the mean over seeds, and their range."""
    having = [record for record in records if record.curve]
    settings = {record.setting for record in having}
    every = [row for row in compared(table) if row.setting in settings]
    colours = {row.setting: colour for row, colour in zip(every, SERIES, strict=False)}
    names = table.names
    tasks = [task for task in table.tasks if any(record.task == task for record in having)]
    for task in tasks[:PANELS]:
        figure, ax = drawn(2.9)
        ends = []
        for setting, colour in colours.items():
            runs = [dict(r.curve or ()) for r in having if r.setting == setting and r.task == task]
            if not runs:
                continue
            steps = sorted(set.intersection(*map(set, runs)))
            values = np.array([[run[step] for step in steps] for run in runs])
            ax.plot(steps, values.mean(axis=0), color=colour, label=shortened(names[setting]))
            if len(runs) > 1:
                ax.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, lw=0)
            ends.append(f"{names[setting]} {values[:, -1].mean():.1f}")
        ax.set(xlabel="steps", ylabel="target accuracy, %")
        legend(figure, ax)
        yield Shown(
            "curves", f"{table.dataset}-curve-{task}", task,
            "Accuracy on the target along training; nothing is chosen by it."
            + some(len(colours), len(every), "methods", "the best averages")
            + some(len(tasks[:PANELS]), len(tasks), "tasks", "the first"),
            f"Training curves on {task}, at the last step: {', '.join(ends)}.", figure,
        )  # fmt: skip


def confusion_matrix(records: Iterable[Record]) -> tuple[list[str], np.ndarray]:
    """Return class names and the sum of the confusion matrices, true x predicted, of records of one dataset.

    Records of a dataset of one's own may have other classes than those before them; the names are those of all.
    """
    classes = [(list(record.accuracy_per_class or ()), record.confusion or ()) for record in records]
    names = list(dict.fromkeys(name for own, _ in sorted(classes, key=lambda one: -len(one[0])) for name in own))
    place = {name: number for number, name in enumerate(names)}
    total = np.zeros((len(names), len(names)), dtype=int)
    for own, confusion in classes:
        for true, predicted, count in confusion:
            total[place[own[true]], place[own[predicted]]] += count
    return names, total


def confusions(table: Table, row: Row, records: Sequence[Record]) -> Iterator[Shown]:
    """Draw what the best method takes for what, one figure a task, all seeds together."""
    having = [record for record in records if record.setting == row.setting and record.confusion]
    tasks = [task for task in table.tasks if any(record.task == task for record in having)]
    method = table.names[row.setting]
    for task in tasks[:PANELS]:
        names, counts = confusion_matrix(record for record in having if record.task == task)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        side = max(WIDTH, 0.95 + 0.125 * len(names)) if len(names) <= CLASSES else WIDTH
        figure, ax = drawn(side, side)
        tiles(ax, np.where(counts > 0, shares, np.nan), shares, None)
        ax.add_patch(Rectangle((0, 0), len(names), len(names), facecolor="none", edgecolor=RULE, lw=0.8))
        if len(names) <= CLASSES:
            ticks = np.arange(len(names)) + 0.5
            ax.set_xticks(ticks, [shortened(name, 14) for name in names], rotation=90, fontsize=6.5)
            ax.set_yticks(ticks, [shortened(name, 14) for name in names], fontsize=6.5)
        else:
            ax.set(xticks=[], yticks=[])
        ax.set(xlabel="predicted", ylabel="true")
        wrong = np.where(np.eye(len(names), dtype=bool), 0, counts)
        order = np.argsort(-wrong, axis=None, kind="stable")[:3]
        most = [
            f"{names[i]} taken for {names[j]} ({wrong[i, j]})"
            for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
            if wrong[i, j]
        ]
        said = f"Most often confused: {'; '.join(most)}." if most else "Nothing is confused."
        yield Shown(
            "confusion", f"{table.dataset}-confusion-{task}", f"{task}, {method}",
            f"Share of each true class, {method}. {said}"
            + some(len(tasks[:PANELS]), len(tasks), "tasks", "the first"),
            f"Confusion matrix of {method} on {task}, {len(names)} classes. {said}", figure,
        )  # fmt: skip


def class_means(records: Sequence[Record], setting: str | None) -> dict[str, float]:
    """Return each class's accuracy, per cent, as the mean over a setting's tasks and seeds."""
    found = defaultdict(list)
    for record in records:
        if record.setting == setting:
            for name, accuracy in (record.accuracy_per_class or {}).items():
                if accuracy is not None:
                    found[name].append(accuracy)
    return {name: float(np.mean(values)) for name, values in found.items()}


def classes(table: Table, row: Row, records: Sequence[Record]) -> Iterator[Shown]:
    """Draw the best method's accuracy on each class beside its baseline's."""
    ours, theirs = class_means(records, row.setting), class_means(records, row.baseline)
    both = theirs.keys() & ours.keys()
    moved = {name: ours[name] - theirs[name] for name in ours if name in both}
    picked = sorted(ours, key=lambda name: (-abs(moved.get(name, 0.0)), name))[:CLASSES]
    picked = sorted(picked, key=lambda name: (-ours[name], name))
    figure, ax = drawn(0.75 + 0.17 * len(picked))
    places = np.arange(len(picked))
    if theirs:
        known = [i for i, name in enumerate(picked) if name in both]
        ax.hlines(known, [theirs[picked[i]] for i in known], [ours[picked[i]] for i in known], color=RULE, lw=2)
        label = shortened(table.names[str(row.baseline)])
        ax.plot([theirs[picked[i]] for i in known], known, "o", ms=4, mfc=PAPER, mec=MUTED, label=label)
    ax.plot(
        [ours[name] for name in picked], places, "o", ms=4.5, color=ACCENT, label=shortened(table.names[row.setting])
    )
    ax.set_yticks(places, [shortened(name, 22) for name in picked])
    ax.set(xlim=(-2, 102), ylim=(len(picked) - 0.5, -0.5), xlabel="accuracy on the class, %")
    ax.grid(axis="y", visible=False)
    legend(figure, ax)
    worst, best = min(ours, key=lambda n: (ours[n], n)), max(ours, key=lambda n: (ours[n], n))
    yield Shown(
        "confusion", f"{table.dataset}-classes", "Accuracy on each class",
        "Mean over tasks and seeds, the best method beside its baseline, where the records have that."
        + some(len(picked), len(ours), "classes", "those that moved most"),
        f"Accuracy of {table.names[row.setting]} on each class, from {ours[worst]:.0f} per cent ({worst}) to "
        f"{ours[best]:.0f} ({best}).", figure,
    )  # fmt: skip


def embeddings(table: Table, records: Sequence[Record], store: Store) -> Iterator[Shown]:
    """Draw features before and after, by domain and by class, of the best method that kept them on each task."""
    order = {row.setting: i for i, row in enumerate(compared(table))}
    kept = sorted(
        (r for r in records if r.setting in order and store.embedding(*r.address).is_file()),
        key=lambda r: (table.tasks.index(r.task), order[r.setting], r.seed or 0),
    )
    first = {record.task: record for record in reversed(kept)}
    for task in [task for task in table.tasks if task in first][:PANELS]:
        record = first[task]
        with np.load(store.embedding(*record.address), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        domain, label = arrays["domain"].astype(int), arrays["label"].astype(int)
        for kind in ("tsne", "pca"):
            figure, axes = drawn(WIDTH, nrows=2, ncols=2)
            for column, when in enumerate(("before", "after")):
                xy = arrays[f"{kind}_{when}"].astype(float)
                by_domain = np.array(DOMAINS)[domain]
                hues = mpl.colormaps["turbo"](0.05 + 0.9 * label / max(1, label.max()))
                for ax, colours in zip(axes[:, column], (by_domain, hues), strict=True):
                    ax.scatter(*xy.T, c=colours, s=5, alpha=0.75, lw=0, rasterized=True)
                    ax.set(xticks=[], yticks=[])
                    ax.spines[:].set_visible(True)
                axes[0, column].set_title(when)
            axes[0, 0].set_ylabel("by domain")
            axes[1, 0].set_ylabel("by class")
            for side, name in enumerate((record.source, record.target)):
                axes[0, 0].plot([], [], "o", ms=4, color=DOMAINS[side], label=f"{('source', 'target')[side]} {name}")
            legend(figure, axes[0, 0])
            what = {"tsne": "t-SNE", "pca": "Two principal components"}[kind]
            yield Shown(
                "features", f"{table.dataset}-{kind}-{task}", f"{task}, {record.label}: {what}",
                f"Features as they came and as {record.label} leaves them, seed {record.seed or 0}.",
                f"{what} of source and target features on {task} before and after {record.label}, coloured by domain "
                "and by class.", figure,
            )  # fmt: skip


def distances(table: Table, records: Sequence[Record]) -> Iterator[Shown]:
    """Draw accuracy against each distance between the domains: a point a cell, a colour a method."""
    names, order = table.names, [row.setting for row in compared(table)]
    for measure in table.distances:
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for record in records:
            if record.accuracy is not None and measure in record.distances and record.protocol != "oracle":
                points[record.setting].append((record.distances[measure], record.accuracy))
        settings = [setting for setting in order if setting in points]
        everything = np.array([point for setting in settings for point in points[setting]], dtype=float)
        if len(everything) < 3:
            continue
        figure, ax = drawn(3.0)
        if len(settings) > LINES:
            ax.plot(*everything.T, "o", ms=3, color=OTHERS, alpha=0.5, mew=0, zorder=2, rasterized=True)
        for setting, colour in zip(settings, SERIES, strict=False):
            label = shortened(names[setting])
            ax.plot(*np.array(points[setting]).T, "o", ms=4, color=colour, alpha=0.85, label=label, zorder=3)
        ax.set(xlabel=measure, ylabel="target accuracy, %")
        legend(figure, ax)
        x, y = everything.T
        constant = np.ptp(x) == 0 or np.ptp(y) == 0
        said = "" if constant else f" Spearman’s rank correlation over all points: {spearmanr(x, y).statistic:.2f}."
        yield Shown(
            "distances", f"{table.dataset}-distance-{measure}", f"{measure} against accuracy",
            f"A point is one cell: a method on a task with a seed.{said}"
            + some(min(LINES, len(settings)), len(settings), "methods in colour", "the best averages"),
            f"Scatter of accuracy against {measure}, {len(everything)} cells.{said}", figure,
        )  # fmt: skip


def times(table: Table, records: Sequence[Record]) -> Iterator[Shown]:
    """Draw the wall time of a cell for each method: the median over tasks and seeds, and the range."""
    taken = defaultdict(list)
    for record in records:
        if record.status == "ok":
            taken[record.setting].append(max(record.seconds, 1e-3))
    rows = [row for row in [*compared(table), *(r for r in table.rows if r.oracle)] if row.setting in taken][:ROWS]
    if not rows:
        return
    rows.sort(key=lambda row: (np.median(taken[row.setting]), row.label))
    medians = [float(np.median(taken[row.setting])) for row in rows]
    figure, ax = drawn(0.6 + 0.2 * len(rows))
    places = np.arange(len(rows))
    ax.hlines(places, [min(taken[r.setting]) for r in rows], [max(taken[r.setting]) for r in rows], color=RULE, lw=3)
    ax.plot(medians, places, "o", ms=4.5, color=ACCENT)
    ax.set_xscale("log")
    near = max(max(taken[row.setting]) for row in rows) < 50 * min(min(taken[row.setting]) for row in rows)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,)))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(places, [shortened(table.names[row.setting]) for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="seconds a cell: median and range")
    ax.grid(axis="y", visible=False)
    total = sum(record.seconds for record in records)
    yield Shown(
        "glance", f"{table.dataset}-times", "Run times",
        f"Wall time of fit and predict, on whatever machine ran the cell; {total:,.0f} s over all of them."
        + some(len(rows), len(table.rows), "methods", "the best averages"),
        f"Median seconds a cell, from {medians[0]:.3g} ({rows[0].label}) to {medians[-1]:.3g} ({rows[-1].label}).",
        figure,
    )  # fmt: skip
