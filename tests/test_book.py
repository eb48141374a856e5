"""The textbook's listings: each quirk against the listing written plainly, and the page against its cells."""

import importlib.util
import re
from functools import partial
from math import log
from pathlib import Path
from types import ModuleType

import cvxopt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from tda.backbones.base import Network, Output
from tda.backbones.given import Given
from tda.learner import Learner
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.deep_coral import DeepCORAL
from tda.methods.deep.transfer_net import TransferNet
from tda.methods.deep.untrained_adversary import UntrainedAdversary
from tda.methods.shallow.base import standardisers
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.scaled_kmm import ScaledKMM
from tda.trainer import Trainer

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def book() -> ModuleType:
    spec = importlib.util.spec_from_file_location("book", ROOT / "scripts" / "book.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def given(width: int) -> Given:
    backbone = Given(bottleneck=None, hidden=[], discriminator=[])
    backbone.width = width
    return backbone


def batch(n: int = 12, width: int = 7, classes: int = 3) -> Batch:
    draw = torch.Generator().manual_seed(0)
    xs, xt = torch.randn(n, width, generator=draw), torch.randn(n, width, generator=draw) + 1
    return Batch(torch.cat([xs, xt]), torch.arange(n) % classes, torch.arange(n), 0.5)


def listed(*, side_branch: bool = True, apart: bool = True, dropout: float = 0.0, weight: float = 10.0) -> TransferNet:
    return TransferNet(
        weight=weight,
        transfer=DeepCORAL(weight=1.0, layer="features"),
        side_branch=side_branch,
        apart=apart,
        bottleneck=5,
        hidden=6,
        dropout=dropout,
    )


def prepared(method: DeepMethod, width: int = 7, classes: int = 3) -> DeepMethod:
    torch.manual_seed(0)
    method.prepare(Network(given(width), classes=classes))
    return method.train()


def test_the_listing_is_what_the_book_prints() -> None:
    method, one = prepared(listed()), batch()

    def covariance(Z: torch.Tensor) -> torch.Tensor:
        centred = Z - Z.mean(0)
        return centred.T @ centred / (len(Z) - 1)

    source = method.branch(one.xs)
    target = method.branch(one.xt)
    transfer = ((covariance(source) - covariance(target)) ** 2).sum() / (4 * 5**2)
    expected = F.cross_entropy(method.network.head(one.xs), one.ys) + 10 * transfer
    assert [type(layer) for layer in method.branch] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout]
    assert [type(layer) for layer in method.network.head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    torch.testing.assert_close(next(method.objectives(one)).loss, expected)
    torch.testing.assert_close(method.classify(one.xt), method.network.head(one.xt))


def test_the_listing_draws_the_initial_weights_that_the_book_prints() -> None:
    method = prepared(TransferNet(weight=1.0, transfer=DeepCORAL(weight=1.0, layer="features"), side_branch=True,
                                  apart=True), width=2048, classes=31)  # fmt: skip
    bottleneck, (first, *_, last) = method.branch[0], method.network.head
    assert bottleneck.weight.std().item() == pytest.approx(0.005, rel=0.01)
    assert first.weight.std().item() == pytest.approx(0.01, rel=0.01)
    assert last.weight.std().item() == pytest.approx(0.01, rel=0.03)
    torch.testing.assert_close(bottleneck.bias, torch.full((256,), 0.1))
    assert set(first.bias.tolist()) == set(last.bias.tolist()) == {0.0}


@pytest.mark.parametrize(("side_branch", "same"), [(True, True), (False, False)])
def test_over_frozen_features_a_side_branch_is_source_only(side_branch: bool, same: bool) -> None:
    settings = {
        "augment": None, "balanced": False, "watch_every": 0, "precision": "fp32", "optimiser": "sgd", "nesterov": False,
    }  # fmt: skip
    trainer = Trainer(steps=30, batch=24, lr=0.5, alpha=0, beta=0.75, momentum=0.9, weight_decay=0, seed=0, **settings)
    draw = np.random.default_rng(0)
    Xs, ys, Xt = draw.normal(size=(40, 7)), np.arange(40) % 3, draw.normal(size=(30, 7)) + 1

    def logits(weight: float) -> np.ndarray:
        method = partial(listed, side_branch=side_branch, weight=weight)
        return (
            Learner(method=method, trainer=trainer, backbone=partial(given, 7), device="cpu").fit(Xs, ys, Xt).logits(Xt)
        )

    assert np.array_equal(logits(0.0), logits(10.0)) == same


def test_apart_each_domain_is_standardised_by_itself() -> None:
    one = batch()
    for apart, aligned in ((True, True), (False, False)):
        method = prepared(listed(side_branch=False, apart=apart))
        method.network.bottleneck[2] = nn.Identity()  # what batch normalisation gives, before ReLU
        source, target = method.pair(one)
        assert torch.allclose(source.features.mean(0), target.features.mean(0), atol=1e-5) == aligned


def adversary(**changed: object) -> UntrainedAdversary:
    return UntrainedAdversary(**{"weight": 1.0, "hidden": 4, "trained": False, "gamma": None, **changed})


def test_as_printed_nothing_of_the_domain_classifier_is_trained_and_each_batch_meets_another() -> None:
    untrained, trained, one = prepared(adversary()), prepared(adversary(trained=True)), batch()
    of_network = len(list(untrained.network.parameters()))
    assert len(list(untrained.parameters())) == of_network
    assert len(list(trained.parameters())) == of_network + 4
    halves = [Output(x, x) for x in (one.xs, one.xt)]
    assert untrained.alignment(*halves, one).item() != untrained.alignment(*halves, one).item()
    assert trained.alignment(*halves, one).item() == trained.alignment(*halves, one).item()


@pytest.mark.parametrize(("gamma", "strength"), [(None, 0.3), (10.0, 0.3 * np.tanh(2.5))])
def test_the_adversary_is_the_printed_loss_with_its_gradient_reversed(gamma: float | None, strength: float) -> None:
    method, one = prepared(adversary(trained=True, gamma=gamma, height=0.3)), batch()
    xs, xt = one.xs.clone().requires_grad_(), one.xt.clone().requires_grad_()
    said = [torch.sigmoid(method.discriminator(x)) for x in (xs, xt)]
    printed = nn.BCELoss()(said[0], torch.ones(12, 1)) + nn.BCELoss()(said[1], torch.zeros(12, 1))
    expected = torch.autograd.grad(printed, [xs, xt])
    loss = method.alignment(Output(xs, xs), Output(xt, xt), one)
    torch.testing.assert_close(loss, printed)
    for found, plain in zip(torch.autograd.grad(loss, [xs, xt]), expected, strict=True):
        torch.testing.assert_close(found, -strength * plain)


def test_an_undecided_adversary_loses_two_logarithms_of_two() -> None:
    method, one = prepared(adversary(trained=True)), batch()
    nn.init.zeros_(method.discriminator[2].weight)
    nn.init.zeros_(method.discriminator[2].bias)
    assert method.alignment(*(Output(x, x) for x in (one.xs, one.xt)), one).item() == pytest.approx(2 * log(2))


def printed_kmm(K: np.ndarray, kappa: np.ndarray, B: float) -> np.ndarray:
    """The listing's quadratic programme, with its dense constraints and its eps."""
    ns = len(K)
    eps = B / np.sqrt(ns)
    G = np.r_[np.ones((1, ns)), -np.ones((1, ns)), np.eye(ns), -np.eye(ns)]
    h = np.r_[ns * (1 + eps), ns * (eps - 1), B * np.ones(ns), np.zeros(ns)]
    solved = cvxopt.solvers.qp(*map(cvxopt.matrix, (K, -kappa, G, h)), options={"show_progress": False})
    return np.ravel(solved["x"])


@pytest.mark.parametrize(("kernel", "B"), [("linear", 1.0), ("rbf", 1.0), ("rbf", 3.0)])
def test_scaled_kmm_is_the_listing(kernel: str, B: float) -> None:
    draw = np.random.default_rng(0)
    Xs, ys, Xt = draw.normal(size=(30, 40)) / 6, np.arange(30) % 3, draw.normal(size=(20, 40)) / 6 + 0.1
    similar = {"linear": linear_kernel, "rbf": partial(rbf_kernel, gamma=1.0)}[kernel]
    beta = printed_kmm(similar(Xs), 30 / 20 * similar(Xs, Xt).sum(1), B)
    method = ScaledKMM(classifier=OneNN(), kernel=kernel, B=B).fit(Xs, ys, Xt)
    np.testing.assert_allclose(method.weights_, beta, atol=1e-4)
    nearest = KNeighborsClassifier(n_neighbors=1).fit(method.weights_[:, None] * Xs, ys)
    np.testing.assert_array_equal(method.predict(Xt), nearest.predict(Xt))


def test_scaled_kmm_shrinks_all_samples_alike_where_no_two_are_similar() -> None:
    draw = np.random.default_rng(0)
    Xs, Xt = 100 * draw.normal(size=(80, 5)), 100 * draw.normal(size=(60, 5))
    method = ScaledKMM(classifier=OneNN(), kernel="rbf").fit(Xs, np.arange(80) % 3, Xt)
    np.testing.assert_allclose(method.weights_, 1 - 1 / np.sqrt(80), atol=1e-5)


def test_joint_scaling_is_by_both_domains_together() -> None:
    draw = np.random.default_rng(0)
    Xs, Xt = draw.normal(size=(30, 4)), 3 * draw.normal(size=(20, 4)) + 5
    both = np.concatenate([Xs, Xt])
    source, target = standardisers("joint", Xs, Xt)
    for scaler, X in ((source, Xs), (target, Xt)):
        np.testing.assert_allclose(scaler.transform(X), (X - both.mean(0)) / both.std(0))


def test_the_listing_stops_after_its_patience(book: ModuleType) -> None:
    curve = [50.0, 60.0, 55.0, 60.0, 70.0, 65.0]
    assert [book.early_stopped(curve, patience) for patience in (1, 2, 3, 9)] == [60.0, 60.0, 70.0, 70.0]


def test_the_page_says_what_the_cells_say(book: ModuleType) -> None:
    assert book.page(book.cells_of_the_page()) == (ROOT / "results" / "book.md").read_text(encoding="utf-8")


def test_every_variant_was_run_and_none_failed(book: ModuleType) -> None:
    cells = book.cells_of_the_page()
    assert list(dict.fromkeys(cells["variant"])) == [variant.name for variant in book.VARIANTS]
    assert cells["error"].isna().all()
    counts = cells.groupby("variant", sort=False).size()
    expected = {v.name: len(v.tasks.split(",")) * v.seeds for v in book.VARIANTS}
    assert counts.to_dict() == expected


def test_to_the_letter_two_transfer_losses_give_the_same_accuracies(book: ModuleType) -> None:
    cells = book.cells_of_the_page().set_index("variant")
    for column in ("accuracy", "best", "stopped"):
        assert list(cells.loc["ddc/listing", column]) == list(cells.loc["deep_coral/listing", column])
        assert list(cells.loc["ddc/fixed", column]) != list(cells.loc["deep_coral/fixed", column])


def test_the_page_is_wrapped_and_nothing_is_left_open(book: ModuleType) -> None:
    page = book.page(book.cells_of_the_page())
    assert "[[" not in page
    prose = [line for line in page.splitlines() if not re.match(r"\||    |\[", line)]
    assert max(map(len, prose)) <= 120
