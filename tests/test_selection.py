"""Validators against slow plain formulas and skada's, and what chooses among the iterates of a run."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from math import exp, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from tda import regret, report
from tda.__main__ import main
from tda.backbones.pixels import Pixels
from tda.cache import digest
from tda.checkpoint import Checkpoint
from tda.config import Sweep, identity
from tda.divergences.density_ratio import PENALTIES, density_ratio
from tda.errors import Terminated, UsageError
from tda.learner import Learner
from tda.methods.deep.base import Batch, DeepMethod, DomainName, Objective
from tda.methods.deep.source_only import SourceOnly
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.tca import TCA
from tda.run import run
from tda.selection import Judge, Selection, aligner_scores, few_labels, kept_back, split
from tda.store import Record, Store
from tda.task import Domain
from tda.trainer import Trainer
from tda.validators import (
    VALIDATORS,
    Candidate,
    bnm,
    corr_c,
    dev,
    entropy,
    iwcv,
    rankme,
    snd,
    source_risk,
    target_conditional,
    trcv,
)

DRAW = np.random.default_rng(0)
P = DRAW.dirichlet(np.full(4, 0.3), 30)
LOSSES, WEIGHTS = DRAW.exponential(size=50), DRAW.exponential(size=50)


def test_weighted_risks_are_their_sums_written_out() -> None:
    n = len(LOSSES)
    products = [w * loss for w, loss in zip(WEIGHTS, LOSSES, strict=True)]
    assert source_risk(LOSSES) == pytest.approx(-sum(LOSSES) / n)
    assert iwcv(LOSSES, WEIGHTS) == pytest.approx(-sum(products) / n)
    mean, mean_w = sum(products) / n, sum(WEIGHTS) / n
    covariance = sum((p - mean) * (w - mean_w) for p, w in zip(products, WEIGHTS, strict=True))
    variance = sum((w - mean_w) ** 2 for w in WEIGHTS)
    assert dev(LOSSES, WEIGHTS) == pytest.approx(-(mean - covariance / variance * (mean_w - 1)))
    assert dev(LOSSES, np.full(n, 2.0)) == pytest.approx(-2 * LOSSES.mean())
    mistakes = (LOSSES > 1).astype(float)
    assert dev(mistakes, np.full(n, 0.1)) == pytest.approx(-0.1 * mistakes.mean())  # a mean that is not 0.1 to the bit


def test_dev_varies_less_than_iwcv_around_the_targets_risk() -> None:
    """Source N(0, 1), target N(0.5, 1), loss x^2: the ratio is exp(x/2 - 1/8) and the target's risk 1.25."""
    risks = []
    for _ in range(200):
        x = DRAW.standard_normal(400)
        risks.append([-score(x**2, np.exp(x / 2 - 1 / 8)) for score in (iwcv, dev)])
    means, deviations = np.mean(risks, axis=0), np.std(risks, axis=0)
    np.testing.assert_allclose(means, 1.25, atol=0.05)
    assert deviations[1] < 0.8 * deviations[0]


def test_the_density_ratio_is_target_over_source() -> None:
    """Of N(1, 1) and N(0, 1), sampled in unequal number, it is exp(x - 1/2); upside down it would fall with x."""
    source, target = DRAW.normal(size=(6000, 1)), DRAW.normal(1, size=(2000, 1))
    at = np.linspace(-1, 2, 7)[:, None]
    np.testing.assert_allclose(density_ratio(source, target, at), np.exp(at[:, 0] - 0.5), rtol=0.2)


def test_the_density_ratio_is_learned_from_every_sample() -> None:
    draw = np.random.default_rng(0)
    source, target = draw.normal(size=(30, 2)), draw.normal(1.5, size=(20, 2))
    X, is_target = np.concatenate([source, target]), np.repeat([0, 1], [30, 20])
    scaler = StandardScaler().fit(X)
    mildest = LogisticRegression(C=max(PENALTIES), tol=1e-6).fit(scaler.transform(X), is_target)  # they lie apart
    odds = np.exp(mildest.decision_function(scaler.transform(source)))
    np.testing.assert_allclose(density_ratio(source, target, source), 1.5 * odds, rtol=0.05)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_density_ratio_is_that_of_the_optimum(shift: float) -> None:
    """Found by Newton's method here, of features of which half are 0, as a ReLU leaves them."""
    draw = np.random.default_rng(0)
    source = np.maximum(draw.normal(size=(800, 60)), 0)
    target = np.maximum(draw.normal(shift, size=(600, 60)), 0)
    X, is_target = np.concatenate([source, target]), np.repeat([0, 1], [800, 600])
    scaler = StandardScaler().fit(X)
    found = density_ratio(source, target, source)
    ratios = []
    for C in PENALTIES:
        optimum = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10).fit(scaler.transform(X), is_target)
        ratios.append(800 / 600 * np.exp(optimum.decision_function(scaler.transform(source))))
    assert min(np.abs(found / ratio - 1).max() for ratio in ratios) < 1e-4


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_snd_is_the_entropy_of_the_neighbours(temperature: float) -> None:
    unit = [[p / sqrt(sum(q * q for q in row)) for p in row] for row in P]
    total = 0.0
    for i, one in enumerate(unit):
        near = [exp(sum(a * b for a, b in zip(one, other, strict=True)) / temperature) for other in unit]
        others = [value for j, value in enumerate(near) if j != i]
        total -= sum(value / sum(others) * log(value / sum(others)) for value in others)
    assert snd(P, temperature=temperature) == pytest.approx(total / len(P))


def test_snd_is_skadas() -> None:
    skada = pytest.importorskip("skada", reason="skada is in the extra `bench`")
    X, y, domain = DRAW.normal(size=(70, 2)), np.repeat([0, 1, -1], [20, 20, 30]), np.repeat([1, -2], [40, 30])
    model = skada.make_da_pipeline(LogisticRegression()).fit(X, y, sample_domain=domain)
    said = skada.metrics.SoftNeighborhoodDensity()._score(None, model, X, y, sample_domain=domain)
    assert snd(model.predict_proba(X[40:])) == pytest.approx(said)


def test_snd_does_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = snd(P)
    monkeypatch.setattr("tda.validators.BLOCK", 7)
    assert snd(P) == pytest.approx(whole)


def test_scores_of_predictions_are_their_sums_written_out() -> None:
    assert entropy(P) == pytest.approx(sum(p * log(p) for p in P.ravel()) / 30)
    mean = P.mean(axis=0)
    infomax = VALIDATORS["infomax"](candidate())
    assert infomax == pytest.approx(-sum(p * log(p) for p in mean) + entropy(P))
    C = [[sum(P[:, j] * P[:, k]) for k in range(4)] for j in range(4)]
    size = sqrt(sum(c * c for row in C for c in row))
    assert corr_c(P) == pytest.approx(sum(C[j][j] for j in range(4)) / (2 * size))
    eigenvalues = np.linalg.eigvalsh(P.T @ P)
    assert bnm(P) == pytest.approx(np.sqrt(eigenvalues).sum() / sqrt(30 * 4))


def test_rankme_counts_equal_directions() -> None:
    frame = np.linalg.qr(DRAW.normal(size=(40, 6)))[0]
    assert rankme(frame) == pytest.approx(6)
    shares = np.array([0.5, 0.25, 0.25])
    assert rankme(frame[:, :3] * shares) == pytest.approx(exp(-sum(p * log(p) for p in shares)))
    assert rankme(np.zeros((5, 2))) == 1.0


@pytest.mark.parametrize("name", ["entropy", "infomax", "corr_c", "bnm"])
def test_certain_and_even_predictions_are_best(name: str) -> None:
    sharp = np.eye(4)[np.arange(40) % 4] * 0.97 + 0.01 * (1 - np.eye(4))[np.arange(40) % 4]
    flat = np.full((40, 4), 0.25)
    assert VALIDATORS[name](candidate(P=sharp)) > VALIDATORS[name](candidate(P=flat))  # type: ignore[operator]


def test_trcv_compares_with_the_targets_own_classifier() -> None:
    truth, likelihood, weights = np.array([1.0, 0.2]), np.array([0.5, 0.3]), np.array([2.0, 1.0])
    assert trcv(likelihood, truth, weights) == pytest.approx(-(2 * 0.5 + 1 * 0.1) / 2)
    X = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    conditional = target_conditional(X, np.array([3, 3, 7, 7]), np.array([[2.0]] * 4), np.array([3, 7, 5, 9]))
    assert conditional[0] + conditional[1] == pytest.approx(1)
    assert conditional[1] > 0.7
    assert conditional[2:].tolist() == [0, 0]


def candidate(**other: Any) -> Candidate:
    given: dict[str, Any] = {
        "source": DRAW.normal(size=(40, 3)), "held": DRAW.normal(size=(20, 3)), "held_y": np.arange(20) % 2,
        "losses": LOSSES[:20], "target": DRAW.normal(0.5, size=(30, 3)), "P": P,
        "few": (np.arange(4), np.array([0, 1, 0, 1])),
    }  # fmt: skip
    return Candidate(**(given | other))


def test_each_validator_is_of_its_part_of_the_candidate() -> None:
    seen = candidate()
    assert seen.few is not None
    rows, y = seen.few
    truth = target_conditional(seen.target[rows], y, seen.held, seen.held_y)
    weights = density_ratio(seen.source, seen.target, seen.held)
    assert {name: validator(seen) for name, validator in VALIDATORS.items() if name != "infomax"} == pytest.approx({
        "source_risk": source_risk(seen.losses), "iwcv": iwcv(seen.losses, weights), "dev": dev(seen.losses, weights),
        "trcv": trcv(np.exp(-seen.losses), truth, weights), "entropy": entropy(P), "snd": snd(P), "corr_c": corr_c(P),
        "bnm": bnm(P), "rankme": rankme(seen.target),
    })  # fmt: skip


def test_only_trcv_looks_at_target_labels() -> None:
    seen = candidate()
    other = replace(seen, few=(np.arange(4), np.array([1, 0, 1, 0])))
    for name, validator in VALIDATORS.items():
        assert (validator(seen) == validator(other)) == (name != "trcv")


def test_without_probabilities_only_what_needs_none_is_said() -> None:
    said = {name for name, validator in VALIDATORS.items() if validator(candidate(P=None)) is not None}
    assert said == {"source_risk", "iwcv", "dev", "rankme"}


def test_a_share_of_every_class_is_kept_back() -> None:
    y = np.repeat([0, 1, 2], [20, 8, 1])
    back = kept_back(y, 0.2, seed=0)
    assert np.bincount(y[back], minlength=3).tolist() == [4, 2, 0]
    assert np.bincount(y[kept_back(y, 0.9, seed=0)], minlength=3).tolist() == [18, 7, 0]
    assert not np.array_equal(back, kept_back(y, 0.2, seed=1))
    source, held = split(Domain("A", np.arange(29.0)[:, None], y, "print", ("lost.png",)), 0.2, seed=0)
    assert sorted([*source.x.ravel(), *held.x.ravel()]) == list(range(29))
    assert (source.fingerprint, source.skipped) == ("print", ("lost.png",))
    with pytest.raises(UsageError, match=r"selection\.held=0\.2 keeps back no source sample"):
        kept_back(np.arange(9), 0.2, seed=0)


def test_few_labels_are_few_of_every_class() -> None:
    y = np.repeat([0, 1], [9, 2])
    rows, classes = few_labels(y, 3, seed=0)
    assert np.bincount(classes).tolist() == [3, 2]
    np.testing.assert_array_equal(y[rows], classes)


class Spoiling(SourceOnly):
    """Learns, and from the middle of training on learns the classes the wrong way round; ends with a flipped head."""

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        yield from super().objectives(batch if batch.progress < 0.5 else batch._replace(ys=1 - batch.ys))

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        with torch.no_grad():
            self.network.head[0].weight.mul_(torch.rand(()) + 1)  # type: ignore[operator]


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    ys, yt = np.arange(60) % 2, np.arange(40) % 2
    return draw.normal(size=(60, 5)) + 3 * ys[:, None], ys, draw.normal(size=(40, 5)) + 3 * yt[:, None], yt


def judge(chooser: str, truth: np.ndarray | None = None) -> Judge:
    Xs, ys, _, _ = data()
    selection = Selection(chooser=chooser, scores=["source_risk", "dev", "snd"])
    return Judge(selection, Domain("A", Xs[:10], ys[:10]), few=None, truth=truth)


def learner(judged: Judge | None, method: type[DeepMethod] = Spoiling, **changes: Any) -> Learner:
    settings: dict[str, Any] = {
        "steps": 20, "batch": 16, "lr": 0.05, "alpha": 0.0, "beta": 0.75, "optimiser": "sgd", "momentum": 0.9,
        "nesterov": False, "weight_decay": 0.0, "augment": None, "precision": "fp32", "balanced": False,
        "watch_every": 3, "seed": 3,
    }  # fmt: skip
    return Learner(
        method=method,
        trainer=Trainer(**(settings | changes)),
        backbone=lambda: Pixels(size=16, bottleneck=None, hidden=[], discriminator=[7]),
        device="cpu",
        watched=data()[2],
        judge=judged,
    )


@pytest.mark.parametrize("chooser", ["source_risk", "oracle"])
def test_the_best_iterate_predicts_and_the_last_is_among_them(chooser: str) -> None:
    Xs, ys, Xt, yt = data()
    made = learner(judge(chooser, yt if chooser == "oracle" else None)).fit(Xs, ys, Xt)
    steps = [step for step, _ in made.trace_]
    assert steps == [3, 6, 9, 12, 15, 18, 20]
    accuracies = [np.mean(predicted == yt) for _, predicted in made.trace_]
    values = accuracies if chooser == "oracle" else [score for _, score in made.scores_["source_risk"]]
    best = int(np.argmax(values))
    assert steps[best] <= 12
    np.testing.assert_array_equal(made.predict(Xt), made.trace_[best][1])
    assert np.mean(made.predict(Xt) == yt) > accuracies[-1] + 0.3


def test_a_chooser_that_says_nothing_leaves_the_last_iterate_and_is_told_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(VALIDATORS, "dev", lambda candidate: float("nan"))
    Xs, ys, Xt, _ = data()
    made = learner(judge("dev")).fit(Xs, ys, Xt)
    np.testing.assert_array_equal(made.predict(Xt), made.trace_[-1][1])
    assert "says nothing of any iterate; the last one is scored" in caplog.text


def test_few_labels_of_one_class_are_certain_of_it() -> None:
    conditional = target_conditional(np.eye(2), np.array([3, 3]), np.ones((3, 2)), np.array([3, 7, 3]))
    np.testing.assert_array_equal(conditional, [1.0, 0.0, 1.0])


def test_being_judged_changes_nothing_in_training() -> None:
    Xs, ys, Xt, _ = data()
    plain = learner(None, watch_every=0).fit(Xs, ys, Xt)
    judged = learner(judge("last")).fit(Xs, ys, Xt)
    np.testing.assert_array_equal(judged.logits(Xt), plain.logits(Xt))
    np.testing.assert_array_equal(judged.trace_[-1][1], plain.predict(Xt))
    assert {name: len(said) for name, said in judged.scores_.items()} == {"source_risk": 7, "dev": 7, "snd": 7}


def test_scores_are_of_the_iterate_as_it_would_be_finished() -> None:
    """At the end of training, where the method has been finished, and right before, where a copy has."""
    Xs, ys, Xt, _ = data()
    whole = learner(judge("last"), steps=18).fit(Xs, ys, Xt)
    held = judge("last").held
    likelihood = torch.tensor(whole.logits(held.x)).double().log_softmax(1)[range(10), held.y]
    assert whole.scores_["source_risk"][-1] == (18, pytest.approx(likelihood.mean().item()))


class Apart(SourceOnly):
    """Leaves the source elsewhere than the target, which is not where validators look."""

    def embed(self, x: Tensor, domain: DomainName) -> Tensor:
        return super().embed(x, domain) + (7 if domain == "source" else 0)


class Remembering(Judge):
    """Keeps what it is shown last."""

    def scores(self, candidate: Candidate) -> dict[str, float]:
        self.shown = candidate
        return super().scores(candidate)


def test_validators_see_every_sample_by_the_one_map_that_classifies_the_target() -> None:
    """Those of the target that was trained on, of which a part alone is watched."""
    Xs, ys, Xt, _ = data()
    judged = Remembering(Selection(), Domain("A", Xs[:10], ys[:10]), few=None, truth=None)
    made = learner(judged, Apart)
    made.watched = Xt[:7]
    made.fit(Xs, ys, Xt)
    seen = judged.shown
    np.testing.assert_allclose(seen.source, made.features(Xs, "target"), rtol=1e-5)
    np.testing.assert_allclose(seen.held, made.features(judged.held.x, "target"), rtol=1e-5)
    np.testing.assert_allclose(seen.target, made.features(Xt, "target"), rtol=1e-5)
    np.testing.assert_allclose(seen.P, softmax(made.logits(Xt), axis=1), rtol=1e-5)


def test_the_best_iterate_survives_a_stop(tmp_path: Path) -> None:
    Xs, ys, Xt, _ = data()
    unbroken = learner(judge("source_risk")).fit(Xs, ys, Xt)

    class Stopping(Checkpoint):
        def after(self, step: int, training: Any) -> None:
            self._told = signal.SIGTERM if step == 14 else None
            super().after(step, training)

    stopped = learner(judge("source_risk"))
    stopped.checkpoint = Stopping(tmp_path / "one.safetensors", 0)
    with pytest.raises(Terminated):
        stopped.fit(Xs, ys, Xt)
    resumed = learner(judge("source_risk"))
    resumed.checkpoint = Checkpoint(tmp_path / "one.safetensors", 0)
    resumed.fit(Xs, ys, Xt)
    assert resumed.scores_ == unbroken.scores_
    np.testing.assert_array_equal(resumed.logits(Xt), unbroken.logits(Xt))


DEEP = ("method=source_only", "trainer.steps=6", "selection.candidates=3")


def record(folder: Path, *overrides: str) -> Record:
    """Run one cell on two domains of three classes in five dimensions."""
    draw = np.random.default_rng(4)
    y = np.arange(60) % 3
    for name, shift in (("A", 0.0), ("B", 1.0)):
        np.savez(folder / f"{name}.npz", features=draw.normal(size=(60, 5)) + y[:, None] + shift, y=y)
    dataset = ["dataset=features", f"dataset.root={folder}", "dataset.domains={A: A.npz, B: B.npz}", "task=A-B"]
    return run(Sweep([*dataset, *overrides, f"results={folder / 'results'}"]).cells[0].config)


def test_a_record_says_what_chose_and_what_was_said(tmp_path: Path) -> None:
    by_risk = record(tmp_path, *DEEP, "selection=source_risk")
    assert (by_risk.selection, by_risk.protocol) == ("source_risk", "last")
    assert set(by_risk.scores) == set(VALIDATORS)
    assert by_risk.curve is not None
    curve = dict(by_risk.curve)
    assert list(curve) == [2, 4, 6]
    best = max(by_risk.scores["source_risk"], key=lambda point: point[1])[0]
    assert by_risk.accuracy == curve[best]
    by_oracle = record(tmp_path, *DEEP, "selection=oracle")
    assert (by_oracle.selection, by_oracle.protocol) == ("oracle", "oracle")
    assert by_oracle.curve == by_risk.curve
    assert by_oracle.accuracy == max(curve.values()) == by_oracle.oracle_best
    assert len(list(Store(tmp_path / "results").all())) == 2


def test_trcv_is_marked_as_reading_target_labels(tmp_path: Path) -> None:
    assert record(tmp_path, *DEEP, "selection=trcv").protocol == "oracle"


@pytest.mark.parametrize("method", ["one_nn", "dann", "target_only"])
def test_the_last_iterate_is_the_default_and_leaves_records_as_they_were(method: str) -> None:
    (default,), (last,) = (Sweep([f"method={method}", "task=P-O", *typed]).cells for typed in ([], ["selection=last"]))
    assert default.address == last.address
    assert not {"selection", "validation"} & set(identity(default.config))


def test_an_oracle_that_is_trained_on_the_target_takes_its_last_iterate() -> None:
    plain, chosen = (Sweep(["method=target_only", "task=P-O", f"selection={by}"]).cells[0] for by in ("last", "dev"))
    assert plain.address == chosen.address


def test_a_shallow_method_has_no_iterate_to_choose() -> None:
    cells = Sweep(["method=one_nn,coral", "task=P-O", "selection=last,scores,dev,oracle"]).cells
    assert [len({cell.address for cell in cells if cell.address[1] == name}) for name in ("one_nn", "coral")] == [1, 2]


def test_a_chooser_that_there_is_not_is_refused_where_nothing_is_chosen() -> None:
    with pytest.raises(UsageError, match="'foo' is not a chooser"):
        assert Sweep(["method=one_nn", "task=P-O", "selection.chooser=foo"]).cells


def test_aligners_are_judged_where_they_align_and_others_are_not(tmp_path: Path) -> None:
    plain, judged, other = (
        record(tmp_path, method, "method.dim=2" if method == "method=tca" else "seed=0", selection)
        for method, selection in (
            ("method=tca", "selection=last"), ("method=tca", "selection=scores"), ("method=one_nn", "selection=scores"),
        )
    )  # fmt: skip
    assert {name: len(said) for name, said in judged.scores.items()} == dict.fromkeys(
        ("source_risk", "iwcv", "dev", "rankme"), 1
    )
    assert (judged.accuracy, judged.selection) == (plain.accuracy, "last")
    assert other.scores == {}


def test_an_aligners_risks_are_those_of_its_classifier_on_what_was_kept_back() -> None:
    """Of classes drawn at random, so that it errs on some; the ratio is of what it was trained on."""
    Xs, ys, Xt, _ = data()
    ys = np.random.default_rng(0).permutation(ys)
    tca = TCA(classifier=OneNN(), dim=2).fit(Xs, ys, Xt)
    selection = Selection(scores=["source_risk", "iwcv"])
    Zs, Zt = tca.aligned_
    back = kept_back(ys, selection.held, seed=0)
    wrong = np.array(
        [ys[~back][np.argmin(((Zs[~back] - z) ** 2).sum(axis=1))] != y for z, y in zip(Zs[back], ys[back], strict=True)]
    )
    assert 0 < wrong.mean() < 1
    weights = density_ratio(Zs[~back], Zt, Zs[back])
    expected = {"source_risk": -wrong.mean(), "iwcv": -np.mean(weights * wrong)}
    assert aligner_scores(tca, ys, selection) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("selection=devv", "'devv' is not a selection; did you mean 'dev'?"),
        ("selection.scores=[dve]", "'dve' is not a validator; did you mean 'dev'?"),
        ("selection.chooser=best", "'best' is not a chooser"),
        ("selection.held=1", "selection.held=1.0: expected a share of the source, above 0 and below 1"),
        ("selection.candidates=0", "selection.candidates=0: expected at least 1"),
        ("selection.labelled=few", "selection.labelled"),
    ],
)
def test_mistakes_get_one_line(typed: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "method=source_only", typed, f"results={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def of_run(curve: list[float], scores: dict[str, list[float]], **changes: Any) -> Record:
    """Return a record of a deep run that was watched at steps 10, 20, ..."""
    steps = range(10, 10 * len(curve) + 1, 10)
    made_by = {"name": changes.get("method", "dan"), "weight": changes.pop("weight", 1.0)}
    config = {"method": made_by, "trainer": {"seed": 0}, "task": "A-B"}
    config |= {"selection": "last", "validation": {"held": 0.2, "scores": sorted(scores)}}
    given: dict[str, Any] = {
        "key": digest(config), "setting": digest(config), "dataset": "toy", "source": "A", "target": "B", "task": "A-B", "backbone": "net",
        "method": "dan", "label": "DAN", "baseline": None, "seed": 0, "protocol": "last", "status": "ok",
        "accuracy": curve[-1], "accuracy_per_class": {}, "curve": list(zip(steps, curve, strict=True)),
        "oracle_best": max(curve), "distances": {}, "scored": 10, "data": {}, "skipped": [], "seconds": 1.0,
        "error": None, "traceback": None, "config": config, "versions": {}, "commit": None, "created": "",
        "scores": {name: list(zip(steps, said, strict=True)) for name, said in scores.items()},
    }  # fmt: skip
    return Record(**(given | changes))


def by_validator(made: pd.DataFrame, task: str = "A-B") -> dict[str, tuple[float, float]]:
    own = made[made["task"] == task]
    return {one.validator: (one.accuracy, pytest.approx(one.regret)) for one in own.itertuples()}


def test_one_pool_is_one_and_needs_no_samples_held_back() -> None:
    alone = of_run([50, 80], {"snd": [3, 9]})
    alone.config.pop("validation")
    assert ": 1 pool of iterates" in regret.render([alone], "iterates", "text")


def test_methods_without_a_seed_are_of_no_further_seed() -> None:
    made = [of_run([50, 80], {"snd": [3, 9]}, seed=seed, task=task) for seed, task in ((0, "A-B"), (None, "B-A"))]
    assert "; 2 tasks, 1 seed: 2 pools of" in regret.render(made, "iterates", "text")
    assert "; 1 task, 1 seed: 1 pool of" in regret.render(made[1:], "iterates", "text")


def test_regret_over_iterates() -> None:
    made = regret.judgements([of_run([50, 80, 70], {"dev": [1, 2, 3], "snd": [3, 9, 4], "bnm": [5, 5, 5]})], "iterates")
    assert by_validator(made) == {
        "oracle": (80, 0), "dev": (70, 10), "snd": (80, 0), "bnm": (50, 30), "last": (70, 10),
        "random": (pytest.approx(200 / 3), 80 - 200 / 3),
    }  # fmt: skip
    correlations = made.set_index("validator")["spearman"]
    assert correlations["dev"] == pytest.approx(0.5)
    assert correlations["snd"] == pytest.approx(1)
    assert pd.isna(correlations["bnm"])


def test_regret_over_settings_for_each_task_and_for_all() -> None:
    """DEV likes weight 2 on one task alone, by a wide margin; its one setting is by rank, the oracle's by accuracy."""
    cells = [(task, weight) for task in ("A-B", "A-C", "A-D") for weight in (1, 2)]
    records = [
        of_run([0.0, accuracy], {"dev": [50.0, score]}, task=task, weight=weight)
        for (task, weight), accuracy, score in zip(cells, (60, 50, 70, 99, 70, 60), (2, 1, 0, 99, 2, 1), strict=True)
    ]
    made = regret.judgements(records, "settings")
    assert set(made["validator"]) == {"oracle", "dev", "random"}
    assert [by_validator(made, task)["dev"][0] for task in ("A-B", "A-C", "A-D")] == [60, 99, 70]
    same = regret.same_on_every_task(records).set_index("validator")
    assert same["took"].to_dict() == {"oracle": "DAN (weight=2)", "dev": "DAN (weight=1)"}
    assert same["accuracy"].to_dict() == pytest.approx({"oracle": 209 / 3, "dev": 200 / 3})
    assert same["regret"].to_dict() == pytest.approx({"oracle": 0, "dev": 3})
    assert "One setting of a method for all tasks" in regret.render(records, "settings", "text")


def test_settings_are_told_apart_on_each_dataset_alone() -> None:
    made = [
        replace(one, dataset=name, config=one.config | {"dataset": {"name": name, "rows": rows}})
        for name, rows in (("toy", "none"), ("other", "l2"))
        for weight in (1, 2)
        for one in [of_run([0, weight], {"dev": [0, weight]}, weight=weight)]
    ]
    made = [replace(one, setting=digest(one.config)) for one in made]
    assert set(regret.candidates(made)["label"]) == {"DAN (weight=1)", "DAN (weight=2)"}
    said = regret.render(made, "settings", "text")
    assert [line.split()[:4] for line in said.splitlines() if "Oracle" in line and "DAN" in line] == [
        [name, "dan", "net", "Oracle"] for name in ("other", "toy")
    ]
    assert "Dataset Method" in said
    assert "Dataset" not in regret.render(made[:2], "settings", "text")


def test_regret_over_methods_leaves_shallow_and_deep_apart() -> None:
    """The losses that validators see of shallow methods are 0 and 1, those of deep ones cross-entropies."""
    deep = [
        of_run([0, accuracy], {"dev": [0, accuracy]}, method=name, label=name)
        for name, accuracy in (("a", 1), ("b", 2))
    ]
    shallow = [
        replace(of_run([3 - score], {}, method=name, label=name), curve=None, scores={"dev": [(0, score)]})
        for name, score in (("c", 1), ("d", 2))
    ]
    made = regret.judgements([*deep, *shallow], "methods")
    assert made[made["validator"] == "dev"].set_index("deep")["regret"].to_dict() == {True: 0, False: 1}


def test_runs_that_differ_by_what_chose_are_one() -> None:
    one = of_run([1, 2], {"dev": [1, 2]})
    again = replace(one, selection="dev", config=one.config | {"selection": "dev"}, accuracy=0.0)
    assert len(regret.candidates([one, again])) == 2
    assert len(regret.candidates([one, replace(one, seed=1)])) == 4
    more = of_run([1, 2], {"dev": [1, 2], "snd": [2, 1]})
    for records in ([one, more], [more, one]):
        assert regret.candidates(records)["snd"].tolist() == [2, 1]


def test_one_setting_on_samples_that_are_drawn_with_the_seed_is_one_run() -> None:
    made = [
        replace(one, seed=seed, config=one.config | {"dataset": {"draw": seed}})
        for weight in (1, 2)
        for one in [of_run([1, 2], {"dev": [1, 2]}, weight=weight)]
        for seed in (1, 0)
    ]
    assert set(regret.candidates(made)["label"]) == {"DAN (weight=1)", "DAN (weight=2)"}
    assert regret.same_on_every_task(made)["took"].tolist()[0] == "DAN (weight=1)"


@pytest.mark.parametrize("form", regret.FORMATS)
def test_the_report_in_every_format(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    store.put(of_run([50, 80, 70], {"dev": [1, 2, 3], "snd": [3, 9, 4]}))
    assert main(["selection", "--results", str(tmp_path), "--format", form]) == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "dev" in line.lower())
    assert "70.0" in line
    assert "10.0" in line


def test_the_page_of_choices_names_the_command_that_makes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = of_run([50, 80, 70], {"dev": [1, 2, 3]})
    Store(tmp_path).put(made)
    report.write([made], tmp_path / "tables", "mine", "tda run method=dan")
    assert main(["selection", "--results", str(tmp_path), "--method", "dan", "--format", "markdown"]) == 0
    first = capsys.readouterr().out.partition("\n")[0]
    assert first == "Made by `tda run method=dan` and `tda selection --over iterates --method dan`."


def test_a_report_of_nothing_says_how_to_make_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selection", "--results", str(tmp_path)]) == 2
    Store(tmp_path).put(of_run([50, 80], {}))
    assert main(["selection", "--results", str(tmp_path)]) == 2
    assert "`tda run selection=scores` makes such records" in capsys.readouterr().err
    assert main(["selection", "--results", str(tmp_path), "--method", "dna"]) == 2
    assert "did you mean 'dan'?" in capsys.readouterr().err


def test_a_method_without_a_seed_is_chosen_from_at_each_seed() -> None:
    made = [of_run([50], {"snd": [3]}, method="tca", label="TCA", seed=None)]
    made += [of_run([60], {"snd": [9]}, method="bda", label="BDA", seed=seed) for seed in (0, 1)]
    chosen = regret.judgements(made, "methods")
    assert set(chosen["seed"]) == {0, 1}
    assert (chosen["candidates"] == 2).all()
