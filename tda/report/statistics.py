"""Whether methods differ over the tasks of a table: signed ranks, average ranks, and intervals of the average."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from tda.report.formats import aligned, plural
from tda.report.table import Table

ALPHA = 0.05
DRAWS = 10_000
MOST = 60  # methods; of more, those with the best averages take part
NAMED = 6  # groups, and methods of a group
PAIRS_OF = 10  # methods; of more than these only the best is set against each other one


class Pair(NamedTuple):
    """Two methods over the tasks: how often each is better, and the p-value of Wilcoxon's signed-rank test."""

    first: str
    second: str
    wins: int
    losses: int
    p: float
    holm: float  # adjusted for all pairs that were tested


@dataclass(frozen=True)
class Statistics:
    """What the accuracies of a table say of the methods, those without an accuracy on every task left out.

    Attributes
    ----------
    dataset : str
    tasks : int
        Number of tasks, the blocks of every test here.
    methods : tuple of str
        From the best average rank to the worst.
    averages, low, high : tuple of float
        Mean accuracy over tasks, per cent, and its bootstrap interval over tasks.
    ranks : tuple of float
        Average rank over tasks; 1 is best.
    chi2, p : float or None
        Friedman's statistic and its p-value; None for fewer than three methods or one task, or where all tie on every
        task.
    distance : float or None
        Nemenyi's critical difference of two average ranks.
    groups : tuple of tuple of str
        The largest sets of methods whose ranks differ by less than that.
    pairs : tuple of Pair
    left_out : tuple of str
        Methods without an accuracy on every task.
    beyond : int
        Number of methods whose averages were not among the `MOST` best.
    """

    dataset: str
    tasks: int
    methods: tuple[str, ...]
    averages: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    ranks: tuple[float, ...]
    chi2: float | None
    p: float | None
    distance: float | None
    groups: tuple[tuple[str, ...], ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    beyond: int


def statistics(table: Table) -> Statistics:
    """Compare the methods of a table over its tasks; oracles do not take part."""
    names = table.names
    rows = [row for row in table.rows if not row.oracle]
    whole = sorted((row for row in rows if row.average is not None), key=lambda row: (-(row.average or 0), row.label))
    whole, beyond = whole[:MOST], len(whole[MOST:])
    scores = np.array([[row.entries[task].mean for task in table.tasks] for row in whole], dtype=float)
    scores = scores.reshape(len(whole), len(table.tasks))
    ranks = average_ranks(scores)
    order = np.lexsort([-scores.mean(axis=1), ranks])
    methods, scores, ranks = [names[whole[i].setting] for i in order], scores[order], ranks[order]
    low, high = average_intervals(scores)
    chi2, p = friedman(scores)
    distance = None if chi2 is None else critical_difference(*scores.shape)
    tested = list(combinations(range(len(methods)), 2)) if len(table.tasks) > 1 else []
    if len(methods) > PAIRS_OF:
        tested = tested[: len(methods) - 1]
    ps = [wilcoxon(scores[i], scores[j]) for i, j in tested]
    pairs = [
        Pair(
            methods[i], methods[j], int((scores[i] > scores[j]).sum()), int((scores[i] < scores[j]).sum()), p, adjusted
        )
        for (i, j), p, adjusted in zip(tested, ps, holm(ps), strict=True)
    ]
    return Statistics(
        dataset=table.dataset,
        tasks=len(table.tasks),
        methods=tuple(methods),
        averages=tuple(scores.mean(axis=1)),
        low=tuple(low),
        high=tuple(high),
        ranks=tuple(ranks),
        chi2=chi2,
        p=p,
        distance=distance,
        groups=() if distance is None else groups(methods, ranks, distance),
        pairs=tuple(pairs),
        left_out=tuple(names[row.setting] for row in rows if row.average is None),
        beyond=beyond,
    )


def wilcoxon(x: np.ndarray, y: np.ndarray) -> float:
    """Return the exact two-sided p-value of Wilcoxon's signed-rank test of paired samples.

    Under the null hypothesis each rank of ``|x - y|`` carries either sign with probability 1/2. The distribution of
    the sum ``W+`` of the positive ones is the product over the ranks ``r`` of ``(1 + z^r) / 2``, which is multiplied
    out. Equal differences share their mean rank (ranks are doubled to stay whole), and zeros are left out.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        One value a task each.

    References
    ----------
    Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1945; zeros as there.
    """
    difference = (x - y)[np.abs(x - y) > 1e-9]
    doubled = np.rint(2 * rankdata(np.round(np.abs(difference), 9))).astype(int)
    chance = np.ones(1)
    for rank in doubled:
        chance = (np.pad(chance, (0, rank)) + np.pad(chance, (rank, 0))) / 2
    positive = int(doubled[difference > 0].sum())
    smaller = min(positive, int(doubled.sum()) - positive)
    return float(min(1.0, 2 * chance[: smaller + 1].sum()))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for testing all of them.

    References
    ----------
    Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps)
    stepped = np.maximum.accumulate(np.sort(ps) * np.arange(len(ps), 0, -1))
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(stepped, 1.0)
    return [float(p) for p in adjusted]


def average_ranks(scores: np.ndarray) -> np.ndarray:
    """Return each method's mean rank over tasks, of scores (methods, tasks); 1 is best, ties share their mean."""
    return np.asarray(rankdata(-np.round(scores, 9), axis=0).mean(axis=1))


def friedman(scores: np.ndarray) -> tuple[float | None, float | None]:
    """Return Friedman's chi-squared, corrected for ties, and its p-value, of scores (methods, tasks).

    None and None for fewer than three methods or two tasks, or where all methods tie on every task.

    References
    ----------
    Friedman, The use of ranks to avoid the assumption of normality, JASA 1937.
    """
    methods, tasks = scores.shape
    if methods < 3 or tasks < 2 or np.ptp(np.round(scores, 9), axis=0).max() == 0:
        return None, None
    chi2, p = friedmanchisquare(*np.round(scores, 9))
    return float(chi2), float(p)


def critical_difference(methods: int, tasks: int, alpha: float = ALPHA) -> float:
    """Return the difference of two average ranks that is significant in Nemenyi's test.

    ``CD = q_alpha sqrt(k (k + 1) / (6 N))`` for k methods and N tasks, where ``q_alpha`` is the quantile of the
    studentised range of k values with infinite degrees of freedom, over ``sqrt(2)``.

    References
    ----------
    Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 2006, section 3.2.2.
    """
    q = studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * tasks)))


def groups(methods: Sequence[str], ranks: np.ndarray, distance: float) -> tuple[tuple[str, ...], ...]:
    """Return the largest sets of two or more methods whose average ranks, sorted, lie within `distance`."""
    ends = np.searchsorted(ranks, ranks + distance)
    return tuple(
        tuple(methods[start:end])
        for start, end in enumerate(ends)
        if end - start > 1 and (start == 0 or ends[start - 1] < end)
    )


def average_intervals(scores: np.ndarray, alpha: float = ALPHA, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the percentile bootstrap interval of each method's mean over tasks, of scores (methods, tasks).

    The same draws of tasks, with replacement, serve every method.

    References
    ----------
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    tasks = scores.shape[1]
    counts = np.random.default_rng(seed).multinomial(tasks, np.full(tasks, 1 / tasks), size=DRAWS)  # (DRAWS, tasks)
    low, high = np.quantile(scores @ counts.T / tasks, [alpha / 2, 1 - alpha / 2], axis=1)
    return low, high


def text(made: Statistics) -> str:
    """Return the statistics for a terminal."""
    level = f"{100 * (1 - ALPHA):.0f} %"
    lines = [f"{made.dataset}: {len(made.methods)} methods over {plural(made.tasks, 'task')}"]
    if made.methods:
        head = ["Method", "Avg", f"{level} interval", "Mean rank"]
        lines += ["", *aligned([head, *ranked(made)], 1)]
    lines += ["", *sentences(made)]
    if made.pairs:
        head = ["Wilcoxon signed-rank", "against", "better", "worse", "p", "Holm"]
        lines += ["", *aligned([head, *paired(made)], 2)]
    return "\n".join(lines)


def ranked(made: Statistics) -> list[list[str]]:
    """Return the lines of a table of averages, their intervals, and mean ranks."""
    columns = made.methods, made.averages, made.low, made.high, made.ranks
    return [
        [name, f"{mean:.1f}", f"{low:.1f} to {high:.1f}", f"{rank:.2f}"]
        for name, mean, low, high, rank in zip(*columns, strict=True)
    ]


def paired(made: Statistics) -> list[list[str]]:
    """Return the lines of a table of tests: two methods, on how many tasks which is better, and p-values."""
    return [
        [pair.first, pair.second, str(pair.wins), str(pair.losses), f"{pair.p:.4f}", f"{pair.holm:.4f}"]
        for pair in made.pairs
    ]


def named(group: Sequence[str]) -> str:
    """Name the methods of a group in the order of their ranks, of a large one the ends."""
    return ", ".join(group) if len(group) <= NAMED else f"{group[0]} to {group[-1]} ({len(group)} methods)"


def sentences(made: Statistics) -> list[str]:
    """Say what was tested, what came of it, and what it is worth."""
    said = ["Intervals: percentile bootstrap over the tasks. Oracle rows do not take part."]
    if made.chi2 is None or made.p is None or made.distance is None:
        enough = len(made.methods) >= 3 and made.tasks >= 2
        said.append(
            "The methods tie on every task, so that Friedman's test has nothing to say."
            if enough
            else "Friedman's test needs three methods with an accuracy on each of two tasks or more."
        )
    else:
        verdict = "the methods differ" if made.p < ALPHA else "no difference is shown"
        said.append(
            f"Friedman: chi2 = {made.chi2:.2f}, p = {made.p:.2g}: {verdict} at {ALPHA:g}. Nemenyi: mean ranks that "
            f"differ by less than {made.distance:.2f} are not told apart."
        )
        said += [f"Not told apart: {named(group)}." for group in made.groups[:NAMED]]
        if len(made.groups) > NAMED:
            said.append(f"So are {len(made.groups) - NAMED} more groups further down.")
    if 1 < made.tasks < 10:
        least = 2 ** (1 - made.tasks)
        said.append(
            f"{made.tasks} tasks are few: the least p-value that the signed-rank test can give is {least:.2g}, and "
            "tasks that share a domain are not independent."
        )
    if len(made.methods) > PAIRS_OF:
        said.append(f"Of more than {PAIRS_OF} methods only the best is tested against each other one.")
    if made.beyond:
        said.append(f"Only the {MOST} best averages take part, {made.beyond} more methods do not.")
    if made.left_out:
        said.append(f"Left out, for want of an accuracy on every task: {', '.join(made.left_out)}.")
    return said
