"""How well validators choose, from records alone: what they take, its regret against the oracle, rank correlation."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata, spearmanr

from tda.cache import digest
from tda.errors import UsageError
from tda.report.formats import piped, plural, ruled
from tda.report.labels import row_labels
from tda.report.table import NEVER_SEEDED, first_of_each, frame
from tda.store import Record

LAST, RANDOM, ORACLE = "last", "random", "oracle"
VALIDATORS = {
    "source_risk": "Source risk",
    "iwcv": "IWCV",
    "dev": "DEV",
    "trcv": "TrCV (few target labels)",
    "entropy": "Entropy",
    "infomax": "InfoMax",
    "snd": "SND",
    "corr_c": "Corr-C",
    "bnm": "BNM",
    "rankme": "RankMe",
}
NAMES = VALIDATORS | {LAST: "Last iterate", RANDOM: "Random pick", ORACLE: "Oracle (all target labels)"}
LEGEND = (
    "Accuracy of what each validator takes, in per cent, mean over pools. Regret: the pool's best accuracy less that, "
    "in points; worst: the greatest of any pool. Spearman: rank correlation of score and accuracy within a pool, mean "
    "over the pools where neither is constant. Pools: those that the validator can judge. Random pick: the pool's mean."
)


@dataclass(frozen=True)
class Pool:
    """What is chosen from: candidates that share all of `shared`.

    Attributes
    ----------
    what : str
        The candidates, in words.
    shared : tuple of str
        Columns of `candidates`.
    last : bool
        Whether only the last iterate of each run is among them.
    """

    what: str
    shared: tuple[str, ...]
    last: bool


POOLS = {
    "iterates": Pool("iterates of one run", ("dataset", "backbone", "method", "label", "run", "task", "seed"), False),
    "settings": Pool("settings of one method", ("dataset", "backbone", "method", "task", "seed"), True),
    "methods": Pool("methods and settings, on one backbone", ("dataset", "backbone", "deep", "task", "seed"), True),
}


def candidates(records: Iterable[Record]) -> pd.DataFrame:
    """Return a row for each iterate that validators have judged, with its accuracy and their scores.

    Runs that differ by what chose among their iterates alone are one run: of its records, the one in which validators
    say most. Columns: dataset, backbone, method, label (with the parameters that tell the settings on a dataset apart),
    deep (a network, whose losses are cross-entropies; those of a shallow method are 0 and 1), run, task, seed, step,
    final, accuracy (per cent), and one for each validator.
    """
    judged = [record for record in records if record.scores and record.status == "ok"]
    if not judged:
        return pd.DataFrame()
    every = frame(judged)
    configs = first_of_each(every)["config"]
    runs = [trained_as(configs[setting]) for setting in every["setting"]]
    of_all_tasks = [digest(run | {"task": None}) for run in runs]
    said = [sum(map(len, record.scores.values())) for record in judged]
    every = every.assign(config=runs, run=of_all_tasks, said=said)
    cells = every.sort_values("said", kind="stable").drop_duplicates(["run", "task", "seed"], keep="last").sort_index()
    firsts = cells.drop_duplicates("run").set_index("run")
    labels = {run: label for _, own in firsts.groupby("dataset") for run, label in row_labels(own).items()}
    return pd.DataFrame(row for cell in cells.itertuples() for row in iterates(cell, labels[cell.run]))


def trained_as(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the weights of a run depend on: its configuration without seeds and without what chose."""
    seedless = {
        key: {k: v for k, v in value.items() if k != "seed"} if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in ("selection", "validation")
    }
    return seedless | {"held": config.get("validation", {}).get("held")}


def iterates(cell: pd.Series, label: str) -> Iterator[dict[str, object]]:
    """Yield the candidates of one run."""
    deep = cell.curve is not None
    curve = dict(cell.curve) if deep else {0: cell.accuracy}
    scores = {name: dict(points) for name, points in cell.scores.items()}
    seed = NEVER_SEEDED if pd.isna(cell.seed) else int(cell.seed)
    described = {"dataset": cell.dataset, "backbone": cell.backbone, "method": cell.method, "label": label}
    for step, accuracy in curve.items():
        said = {name: points.get(step) for name, points in scores.items()}
        where = {"deep": deep, "run": cell.run, "task": cell.task, "seed": seed, "step": step}
        yield described | where | {"final": step == max(curve), "accuracy": accuracy} | said


def judgements(records: Iterable[Record], over: str) -> pd.DataFrame:
    """Return a row for each pool and validator: what it takes, that one's accuracy, regret and rank correlation.

    Parameters
    ----------
    records : iterable of Record
        Made with ``selection=scores``, or with any but ``last``.
    over : str
        One of `POOLS`.

    Raises
    ------
    UsageError
        If there is no pool of at least two candidates.
    """
    pool = POOLS[over]
    every = candidates(records)
    made: list[dict[str, object]] = []
    if not every.empty:
        every = spread(every[every["final"]] if pool.last else every, pool.shared)
        for shared, part in every.groupby(list(pool.shared), sort=False):
            if len(part) > 1:
                made += [dict(zip(pool.shared, shared, strict=True)) | one for one in judged(part, not pool.last)]
    if not made:
        raise UsageError(
            f"nothing to choose from among {pool.what}: expected at least two that validators have judged; "
            f"`tda run selection=scores` makes such records"
        )
    return pd.DataFrame(made).astype({"step": "Int64"})


def spread(every: pd.DataFrame, shared: Sequence[str]) -> pd.DataFrame:
    """Return the candidates, those that know no seed beside those of each seed with which they share all else."""
    others = [column for column in shared if column != "seed"]
    seedless = every["seed"] == NEVER_SEEDED
    seeds = every.loc[~seedless, [*others, "seed"]].drop_duplicates()
    beside = every[seedless].drop(columns="seed").merge(seeds, how="left", on=others)
    return pd.concat([beside.fillna({"seed": NEVER_SEEDED}).astype({"seed": int}), every[~seedless]])


def judged(pool: pd.DataFrame, has_last: bool) -> Iterator[dict[str, object]]:
    """Yield what each validator makes of one pool, and the last iterate, a random pick and the oracle."""
    accuracy = pool["accuracy"].to_numpy(dtype=float)
    best = accuracy.max()

    def took(name: str, row: int, correlation: float | None) -> dict[str, object]:
        one = pool.iloc[row]
        return {
            "validator": name, "candidates": len(pool), "took": one["label"], "step": int(one["step"]),
            "accuracy": accuracy[row], "regret": best - accuracy[row], "spearman": correlation,
        }  # fmt: skip

    yield took(ORACLE, int(accuracy.argmax()), None)
    for name in VALIDATORS:
        scores = pool[name].to_numpy(dtype=float) if name in pool else np.array([np.nan])
        if not np.isnan(scores).any():
            constant = np.ptp(scores) == 0 or np.ptp(accuracy) == 0
            yield took(name, int(scores.argmax()), None if constant else float(spearmanr(scores, accuracy).statistic))
    if has_last:
        yield took(LAST, len(pool) - 1, None)
    mean = float(accuracy.mean())
    yield took(RANDOM, 0, None) | {"took": None, "step": None, "accuracy": mean, "regret": best - mean}


def summary(made: pd.DataFrame) -> pd.DataFrame:
    """Return each validator's mean accuracy, mean and worst regret, mean rank correlation, and number of pools."""
    grouped = made.astype({"spearman": float}).groupby("validator", sort=False)
    columns = {
        "accuracy": ("accuracy", "mean"),
        "regret": ("regret", "mean"),
        "worst": ("regret", "max"),
        "spearman": ("spearman", "mean"),
        "pools": ("regret", "size"),
    }
    return grouped.agg(**columns).sort_values("regret", kind="stable")


def by_method(made: pd.DataFrame) -> pd.DataFrame:
    """Return each validator's mean regret, validators x methods; empty where pools hold several methods."""
    if "method" not in made:
        return pd.DataFrame()
    order = summary(made).index
    column = "label" if "label" in made else "method"
    return made.pivot_table(index="validator", columns=column, values="regret", sort=False).reindex(order)


def same_on_every_task(records: Iterable[Record]) -> pd.DataFrame:
    """Return, for each method, the one setting that each validator takes for all tasks, and the oracle's.

    Scores of different tasks are of different scales, so that a validator takes the setting of the best mean rank over
    tasks and seeds; the oracle takes that of the best mean accuracy. Columns: dataset, backbone, method, validator,
    took, accuracy and regret, both means over tasks and seeds. Only settings that were run on every task and seed take
    part, two at least.
    """
    every = candidates(records)
    made = []
    if every.empty:
        return pd.DataFrame()
    for (dataset, backbone, method), part in every[every["final"]].groupby(["dataset", "backbone", "method"]):
        cells = part.pivot(index=["task", "seed"], columns="label", values="accuracy").dropna(axis=1)
        if cells.shape[1] < 2:
            continue
        means = cells.mean()
        for name in (ORACLE, *VALIDATORS):
            scores = scores_of(part, name, cells)
            if name == ORACLE or scores is not None:
                ranks = means if scores is None else rankdata(scores, axis=1).mean(axis=0)
                taken = cells.columns[np.argmax(ranks)]
                made.append(
                    {
                        "dataset": dataset, "backbone": backbone, "method": method, "validator": name, "took": taken,
                        "accuracy": means[taken], "regret": means.max() - means[taken],
                    }
                )  # fmt: skip
    return pd.DataFrame(made)


def scores_of(part: pd.DataFrame, validator: str, like: pd.DataFrame) -> pd.DataFrame | None:
    """Return a validator's scores, arranged as `like`; None where one is missing."""
    if validator not in part:
        return None
    scores = part.pivot(index=["task", "seed"], columns="label", values=validator).reindex_like(like)
    return None if scores.isna().any(axis=None) else scores


class Lines(NamedTuple):
    """A small table: the head, then the lines; the first `names` columns hold words."""

    caption: str
    lines: list[list[str]]
    names: int = 1


LAYOUTS: Mapping[str, Callable[[str, list[list[str]], int], str]] = {"text": ruled, "markdown": piped}
FORMATS = (*LAYOUTS, "csv")


def render(records: Sequence[Record], over: str, form: str) -> str:
    """Return the report in one of `FORMATS`; as CSV it is all of `judgements`."""
    made = judgements(records, over)
    if form == "csv":
        return str(made.to_csv(index=False, float_format="%.4f")).rstrip("\n")
    return "\n\n".join([*starmap(LAYOUTS[form], parts(made, records, over)), LEGEND])


def parts(made: pd.DataFrame, records: Sequence[Record], over: str) -> Iterator[Lines]:
    """Yield the tables of the report: all pools together, by method, and the one setting for all tasks."""
    pools = made.groupby(list(POOLS[over].shared), sort=False).ngroups
    yield Lines(f"{described(made)}: {plural(pools, 'pool')} of {POOLS[over].what}", totals(made))
    methods = by_method(made)
    if methods.shape[1] > 1:
        regrets = [[NAMES[name], *map(shown, row)] for name, *row in methods.itertuples()]
        yield Lines("Mean regret by method", [["Validator", *methods.columns], *regrets])
    same = same_on_every_task(records) if over == "settings" else pd.DataFrame()
    if not same.empty:
        several = same["dataset"].nunique() > 1
        taken = [
            [
                *([one.dataset] if several else []), one.method, one.backbone, NAMES[one.validator], one.took,
                f"{one.accuracy:.1f}", f"{one.regret:.2f}",
            ]
            for one in same.itertuples()
        ]  # fmt: skip
        head = [*(["Dataset"] if several else []), "Method", "Backbone", "Validator", "Takes", "Accuracy", "Regret"]
        yield Lines("One setting of a method for all tasks", [head, *taken], names=4 + several)


def totals(made: pd.DataFrame) -> list[list[str]]:
    """Return the head and the lines of the `summary`."""
    lines = [
        [NAMES[name], f"{accuracy:.1f}", f"{regret:.2f}", f"{worst:.1f}", shown(spearman), str(count)]
        for name, accuracy, regret, worst, spearman, count in summary(made).itertuples()
    ]
    return [["Validator", "Accuracy", "Regret", "Worst", "Spearman", "Pools"], *lines]


def described(made: pd.DataFrame) -> str:
    """Say what the pools are of."""
    tasks, seeds = made["task"].nunique(), max(made["seed"][made["seed"] != NEVER_SEEDED].nunique(), 1)
    names = "; ".join(
        f"{dataset}, {backbone}"
        for dataset, backbone in sorted(set(zip(made["dataset"], made["backbone"], strict=True)))
    )
    return f"{names}; {plural(tasks, 'task')}, {plural(seeds, 'seed')}"


def shown(value: float) -> str:
    """Return a number with two decimals, or a dash where there is none."""
    return "-" if pd.isna(value) else f"{value:.2f}"
