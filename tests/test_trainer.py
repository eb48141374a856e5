"""The one loop against plain formulas, and DANN against its own definition."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from math import exp
from shutil import which
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tda.augment import Affine, CropFlip
from tda.backbones.base import Backbone, Network, Output, resident
from tda.backbones.caffe_lenet import CaffeLeNet
from tda.backbones.ganin import LeNet
from tda.backbones.pixels import Pixels
from tda.batches import balanced, gathered, indices
from tda.errors import UsageError
from tda.learner import Learner, channel_means
from tda.methods.deep.adda import ADDA
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.dann import DANN
from tda.methods.deep.reversal import reverse_gradient
from tda.methods.deep.source_only import SourceOnly
from tda.trainer import DivergenceError, Trainer, bfloat16, own_parameters, trainable

CPU = torch.device("cpu")

SETTINGS: dict[str, Any] = {
    "steps": 12, "batch": 8, "lr": 0.05, "alpha": 10.0, "beta": 0.75, "optimiser": "sgd", "momentum": 0.9,
    "nesterov": False, "weight_decay": 0.01, "augment": None, "precision": "fp32", "balanced": False,
    "watch_every": 0, "seed": 3,
}  # fmt: skip


def pixels(bottleneck: int | None = None) -> Pixels:
    return Pixels(size=16, bottleneck=bottleneck, hidden=[6], discriminator=[7])


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.standard_normal((20, 5)), np.arange(20) % 2, draw.standard_normal((14, 5)) + 1


def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The target's are brighter."""
    draw = np.random.default_rng(0)
    Xs, Xt = (draw.integers(low, low + 100, (n, 16, 16, 3), dtype=np.uint8) for n, low in ((12, 0), (9, 120)))
    return Xs, np.arange(12) % 2, Xt


def learner(method: Callable[..., DeepMethod] = SourceOnly, **changes: Any) -> Learner:
    arguments = {"weight": 1.0, "gamma": 10.0, "hidden": None} if method is DANN else {}
    return Learner(
        method=lambda: method(**arguments),
        trainer=Trainer(**(SETTINGS | changes)),
        backbone=lambda: pixels(bottleneck=4),
        device="cpu",
    )


def noting(build: Callable[[], DeepMethod], seen: list[torch.dtype]) -> Callable[[], DeepMethod]:
    """Have the method note the precision of the logits from which its objectives send gradients."""

    def built() -> DeepMethod:
        method = build()
        objectives = method.objectives

        def note(head: nn.Module, given: object, logits: Tensor) -> None:
            if logits.requires_grad:
                seen.append(logits.dtype)

        def noted(batch: Batch) -> Iterator[Objective]:
            hook = method.network.head.register_forward_hook(note)
            yield from objectives(batch)
            hook.remove()

        method.objectives = noted  # type: ignore[method-assign]
        return method

    return built


@pytest.mark.parametrize(("optimiser", "nesterov"), [("sgd", False), ("sgd", True), ("adam", False)])
def test_training_is_descent_with_the_annealed_rate_of_the_paper(optimiser: str, nesterov: bool) -> None:
    """Against SGD with both momenta, and Adam (Kingma and Ba, ICLR 2015, algorithm 1), by hand on the same batches."""
    xs, ys = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 2
    method = SourceOnly()
    network = nn.Linear(5, 2)

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = network

        def forward(self, x: Tensor) -> Output:
            return Output(x, self.layer(x))

        def parameter_groups(self, lr: float) -> Iterator[dict[str, Any]]:
            yield {"params": list(self.parameters()), "lr": lr}

    weights = [p.detach().clone().requires_grad_() for p in network.parameters()]
    method.network = Bare()  # type: ignore[assignment]
    Trainer(**(SETTINGS | {"optimiser": optimiser, "nesterov": nesterov})).train(method, xs, ys, xs)

    velocity, squares = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    for step, i in enumerate(islice(indices(20, 4, SETTINGS["seed"]), SETTINGS["steps"])):
        loss = F.cross_entropy(F.linear(xs[i], weights[0], weights[1]), ys[i])
        gradients = torch.autograd.grad(loss, weights)
        rate = 0.05 / (1 + 10 * step / 12) ** 0.75
        for k, (w, g) in enumerate(zip(weights, gradients, strict=True)):
            g = g + 0.01 * w.detach()
            if optimiser == "sgd":
                velocity[k] = 0.9 * velocity[k] + g
                w.data -= rate * (g + 0.9 * velocity[k] if nesterov else velocity[k])
            else:
                velocity[k] = 0.9 * velocity[k] + 0.1 * g
                squares[k] = 0.999 * squares[k] + 0.001 * g**2
                unbiased = (squares[k] / (1 - 0.999 ** (step + 1))).sqrt()
                w.data -= rate * velocity[k] / (1 - 0.9 ** (step + 1)) / (unbiased + 1e-8)
    for trained, plain in zip(network.parameters(), weights, strict=True):
        torch.testing.assert_close(trained, plain, atol=1e-6, rtol=1e-5)


def test_an_objective_changes_only_the_modules_that_it_names() -> None:
    class Alternating(DANN):
        def objectives(self, batch: Batch) -> Iterator[Objective]:
            source, target = self.pair(batch)
            yield Objective(self.alignment(source, target, batch), (self.discriminator,))

    before: dict[str, Tensor] = {}

    class Watched(Alternating):
        def prepare(self, network: Network) -> None:
            super().prepare(network)
            before.update({name: p.detach().clone() for name, p in self.named_parameters()})

    made = Learner(
        method=lambda: Watched(weight=1.0, gamma=10.0, hidden=[3]),
        trainer=Trainer(**(SETTINGS | {"weight_decay": 0.0})),
        backbone=lambda: pixels(bottleneck=4),
        device="cpu",
    ).fit(*data())
    for name, parameter in made.method_.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("network.")


def test_a_module_may_be_trained_for_the_first_time_after_others_of_its_group() -> None:
    before: list[Tensor] = []

    class HeadFirst(SourceOnly):
        def prepare(self, network: Network) -> None:
            super().prepare(network)
            before.extend(p.detach().clone() for p in network.bottleneck.parameters())

        def objectives(self, batch: Batch) -> Iterator[Objective]:
            trained = self.network.head if batch.progress < 0.5 else self.network
            yield Objective(F.cross_entropy(self.network(batch.xs).logits, batch.ys), (trained,))

    made = Learner(
        method=HeadFirst, trainer=Trainer(**SETTINGS), backbone=lambda: pixels(bottleneck=4), device="cpu"
    ).fit(*data())
    assert not torch.equal(next(iter(made.method_.network.bottleneck.parameters())), before[0])


def test_own_parameters_are_what_is_not_the_networks_and_learn_at_the_full_rate() -> None:
    method = DANN(weight=1.0, gamma=10.0, hidden=[3])
    method.prepare(Network(pixels(), classes=2))
    own = own_parameters(method)
    assert {id(p) for p in own} == {id(p) for p in method.discriminator.parameters()}
    groups = Trainer(**SETTINGS)._optimiser(method).param_groups
    assert [group["lr"] for group in groups if {id(p) for p in own} & {id(p) for p in group["params"]}] == [0.05]


def test_what_has_no_parameters_is_no_group_of_the_optimiser() -> None:
    method = SourceOnly()
    method.prepare(Network(pixels(), classes=2))
    (group,) = Trainer(**SETTINGS)._optimiser(method).param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in method.parameters()}


@pytest.mark.parametrize("images", [False, True])
def test_a_batch_is_the_rows_that_were_drawn_of_one_domain_and_then_of_the_other(images: bool) -> None:
    draw = np.random.default_rng(0)
    sizes = (4, 4) if images else (3,)
    one, other = (resident(draw.integers(0, 256, (n, *sizes)).astype(np.uint8 if images else np.float64), CPU)
                  for n in (6, 5))  # fmt: skip
    i, j = torch.tensor([5, 0, 0, 3]), torch.tensor([4, 1])
    torch.testing.assert_close(gathered((one, i), (other, j)), torch.cat([one[i], other[j]]))


def test_samples_of_two_sizes_are_refused() -> None:
    xs, ys, xt = data()
    with pytest.raises(UsageError, match="expected the same shape"):
        learner().fit(xs, ys, xt[:, :-1])


def test_the_parameters_of_an_objective_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ADDA's, too, whose steps train three sets of modules in turn."""
    asked: list[Any] = []

    def counted(modules: Any) -> list[nn.Parameter]:
        asked.append(modules)
        return trainable(modules)

    monkeypatch.setattr("tda.trainer.trainable", counted)
    method = partial(ADDA, weight=1.0, loss="gan", pretraining=0.5, hidden=None)
    xs, ys, xt = data()
    learner(method, steps=8).fit(xs, ys, xt)
    assert len(asked) == 3


def test_divergence_names_the_step() -> None:
    with pytest.raises(DivergenceError, match=r"at step \d+ of 12; lower trainer\.lr"):
        learner(lr=1e30).fit(*data())


@pytest.mark.parametrize("method", [SourceOnly, DANN])
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_forward_pass_and_weights_stay_float32(
    method: type[DeepMethod], precision: str, dtype: torch.dtype
) -> None:
    made, seen = learner(method, precision=precision), list[torch.dtype]()
    made.method = noting(made.method, seen)
    made.fit(*data())
    assert set(seen) == {dtype}
    assert {p.dtype for p in made.method_.parameters()} == {torch.float32}
    assert made.logits(data()[2]).dtype == np.float32


def test_copies_of_weights_in_bfloat16_are_not_kept() -> None:
    with bfloat16(torch.device("cpu")):
        assert not torch.is_autocast_cache_enabled()


def dropping_learner(compiled: bool) -> Learner:
    method = partial(DANN, weight=1.0, gamma=10.0, hidden=None, height=1.0)
    backbone = partial(CaffeLeNet, size=16, bottleneck=None, hidden=[], discriminator=[7], dropout=0.5)
    trainer = Trainer(**(SETTINGS | {"watch_every": 5}))
    return Learner(
        method=method, trainer=trainer, backbone=backbone, device="cpu", compiled=compiled, watched=images()[2]
    )


def test_what_is_compiled_is_the_backbone_that_trains_on_images(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = list[object]()

    def compile_(function: Callable[..., Tensor], **options: object) -> Callable[..., Tensor]:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr("tda.learner.require_compiler", lambda device: None)
    plain, made = (dropping_learner(translated).fit(*images()) for translated in (False, True))
    assert compiled == [made.method_.network.backbone._call_impl]
    assert np.array_equal(made.logits(images()[2]), plain.logits(images()[2]))
    assert made.method_.state_dict().keys() == plain.method_.state_dict().keys()
    on_features = learner()
    on_features.compiled = True
    on_features.fit(*data())
    assert len(compiled) == 1


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it compiles with
@pytest.mark.skipif(not any(map(which, ("g++", "clang++"))), reason="there is no C++ compiler")
def test_compiled_training_gives_the_same_network_but_for_rounding() -> None:
    plain, made = (dropping_learner(compiled).fit(*images()) for compiled in (False, True))
    np.testing.assert_allclose(made.logits(images()[2]), plain.logits(images()[2]), atol=1e-4)


def test_training_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    learner().fit(*data())
    assert torch.equal(torch.rand(3), expected)


def test_every_sample_is_drawn_before_any_is_drawn_again() -> None:
    drawn = torch.cat(list(islice(indices(7, 3, 0), 7)))
    for epoch in drawn.split(7):
        assert sorted(epoch.tolist()) == list(range(7))
    assert len(next(indices(3, 8, 0))) == 8


def test_balanced_batches_have_equally_many_samples_of_each_class() -> None:
    classes = torch.tensor([0] * 20 + [1] * 3 + [2] * 5)
    draws = balanced(classes, 6, seed=0)
    drawn = torch.stack([next(draws) for _ in range(30)])
    for batch in drawn:
        assert torch.bincount(classes[batch]).tolist() == [2, 2, 2]
    assert set(drawn.flatten().tolist()) == set(range(28))
    few = next(balanced(classes, 2, seed=1))
    assert len(set(classes[few].tolist())) == 2
    assert torch.equal(next(balanced(classes, 6, seed=0)), drawn[0])


class Remembering(SourceOnly):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Batch] = []

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        self.seen.append(batch)
        yield from super().objectives(batch)


def test_balanced_batches_are_drawn_where_they_are_asked_for() -> None:
    Xs, _, Xt = data()
    made = learner(Remembering, balanced=True).fit(Xs, np.arange(20) > 2, Xt)
    assert [batch.ys.bincount().tolist() for batch in made.method_.seen] == [[2, 2]] * 12


def test_both_halves_are_augmented_and_drawn_by_the_seed() -> None:
    Xs, ys, Xt = images()
    made = learner(Remembering, steps=3, augment=lambda images: images + 1).fit(Xs, ys, Xt)
    drawn = zip(indices(12, 4, SETTINGS["seed"]), indices(9, 4, SETTINGS["seed"] + 1), strict=True)
    for batch, (i, j) in zip(made.method_.seen, islice(drawn, 3), strict=True):
        np.testing.assert_array_equal(batch.xs, Xs[i] + 1)
        np.testing.assert_array_equal(batch.ys, ys[i])
        np.testing.assert_array_equal(batch.xt, Xt[j] + 1)
        np.testing.assert_array_equal(batch.it, j)


def test_the_curve_is_of_predictions_along_the_way_and_changes_nothing() -> None:
    Xs, ys, Xt = data()
    plain = learner().fit(Xs, ys, Xt)
    watched = learner(watch_every=5)
    watched.watched = Xt
    watched.fit(Xs, ys, Xt)
    assert [step for step, _ in watched.trace_] == [5, 10, 12]
    np.testing.assert_array_equal(watched.logits(Xt), plain.logits(Xt))
    np.testing.assert_array_equal(watched.trace_[2][1], plain.predict(Xt))
    ten = learner(steps=12, watch_every=10)
    ten.watched = Xt
    np.testing.assert_array_equal(ten.fit(Xs, ys, Xt).trace_[0][1], watched.trace_[1][1])


class Diverging(SourceOnly):
    def objectives(self, batch: Batch) -> Iterator[Objective]:
        for objective in super().objectives(batch):
            infinite = objective.loss / 0 if batch.progress > 0.4 else objective.loss
            yield Objective(
                objective.loss + infinite, (self,), {"classification": objective.loss, "sharpness": infinite}
            )


def test_divergence_names_the_step_and_the_term() -> None:
    with pytest.raises(DivergenceError, match=r"the sharpness loss is inf at step 5 of 12; lower trainer\.lr"):
        learner(Diverging).fit(*data())


class Visited(SourceOnly):
    """Remembers when it saw the whole of the data, and classifies by a head of its own."""

    def begin(self, xs: Tensor, ys: Tensor, xt: Tensor) -> None:
        self.began = (len(xs), len(ys), len(xt), self.training)

    def finish(self, xs: Tensor, xt: Tensor) -> None:
        self.finished = (len(xs), len(xt))

    def classify(self, x: Tensor) -> Tensor:
        return -super().classify(x)


def test_a_method_may_see_all_samples_and_classify_by_its_own_head() -> None:
    Xs, ys, Xt = data()
    made = learner(Visited).fit(Xs, ys, Xt)
    assert (made.method_.began, made.method_.finished) == ((20, 20, 14, True), (20, 14))
    np.testing.assert_array_equal(made.logits(Xt), -learner().fit(Xs, ys, Xt).logits(Xt))


def test_channel_means_are_over_all_pixels_of_all_domains() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8) for n in (3, 5))
    plain = np.concatenate([a, b]).mean((0, 1, 2)) / 255
    np.testing.assert_allclose(channel_means(torch.from_numpy(a), torch.from_numpy(b)), plain, rtol=1e-6)


@pytest.mark.parametrize(("backbone", "measured"), [(LeNet, True), (Pixels, False)])
def test_means_are_measured_on_both_domains_where_the_backbone_has_none(
    backbone: type[Backbone], measured: bool
) -> None:
    Xs, ys, Xt = images()
    made = learner(steps=1)
    made.backbone = lambda: backbone(size=16, bottleneck=None, hidden=[6], discriminator=[7])
    found = made.fit(Xs, ys, Xt).method_.network.backbone.mean
    plain = np.concatenate([Xs, Xt]).mean((0, 1, 2)) / 255 if measured else np.zeros(3)
    np.testing.assert_allclose(found, plain, rtol=1e-6)


def test_labels_may_be_any_integers() -> None:
    Xs, ys, Xt = data()
    assert set(learner().fit(Xs, 10 * ys + 3, Xt).predict(Xt)) <= {3, 13}


class TestDANN:
    def test_reversal_is_the_identity_forward_and_minus_scale_backward(self) -> None:
        x = torch.randn(4, 3, requires_grad=True)
        weight = torch.randn(4, 3)
        y = reverse_gradient(x, 0.7)
        assert torch.equal(y, x)
        (y * weight).sum().backward()
        torch.testing.assert_close(x.grad, -0.7 * weight)

    @pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 0.99])
    def test_loss_and_gradients_are_those_of_the_saddle_point(self, progress: float) -> None:
        """Features follow -lambda dL_d/df, the domain classifier +dL_d; source is 0, target is 1."""
        torch.manual_seed(0)
        method = DANN(weight=1.0, gamma=10.0, hidden=[5])
        method.prepare(Network(pixels(), classes=2))
        fs, ft = torch.randn(6, 768, requires_grad=True), torch.randn(4, 768, requires_grad=True)
        batch = Batch(torch.cat([fs, ft]), torch.zeros(6, dtype=torch.int64), torch.arange(4), progress)
        loss = method.alignment(Output(fs, fs), Output(ft, ft), batch)

        probability = torch.sigmoid(method.discriminator(torch.cat([fs, ft]))).squeeze(1)  # of target
        plain = -(torch.log(1 - probability[:6]).sum() + torch.log(probability[6:]).sum()) / 10
        torch.testing.assert_close(loss, plain)

        trained = [fs, ft, *method.discriminator.parameters()]
        ours = torch.autograd.grad(loss, trained)
        theirs = torch.autograd.grad(plain, trained)
        ramp = 2 / (1 + exp(-10 * progress)) - 1
        for mine, true in zip(ours[:2], theirs[:2], strict=True):
            torch.testing.assert_close(mine, -ramp * true)
        for mine, true in zip(ours[2:], theirs[2:], strict=True):
            torch.testing.assert_close(mine, true)

    def test_the_domain_classifier_is_trained(self) -> None:
        """The textbook's listing makes a new one at every step, which never learns anything."""
        Xs, ys, Xt = data()
        made = learner(DANN, steps=200, lr=0.1).fit(Xs, ys, Xt + 10)
        assert isinstance(made.method_, DANN)
        with torch.no_grad():
            features = [made.method_.network(torch.tensor(x, dtype=torch.float32)).features for x in (Xs, Xt + 10)]
            said = [made.method_.discriminator(f) for f in features]
        before = learner(DANN, steps=1, lr=1e-12).fit(Xs, ys, Xt + 10).method_
        assert isinstance(before, DANN)
        for mine, theirs in zip(
            made.method_.discriminator.parameters(), before.discriminator.parameters(), strict=True
        ):
            assert not torch.allclose(mine, theirs)
        assert all(torch.isfinite(s).all() for s in said)

    def test_widths_are_the_backbones_unless_given(self) -> None:
        for hidden, expected in ((None, [7, 1]), ([9, 8], [9, 8, 1])):
            method = DANN(weight=1.0, gamma=10.0, hidden=hidden)
            method.prepare(Network(pixels(), classes=2))
            layers = [layer for layer in method.discriminator if isinstance(layer, nn.Linear)]
            assert [layer.out_features for layer in layers] == expected


def test_a_method_without_a_loss_says_so() -> None:
    class Empty(DeepMethod):
        pass

    with pytest.raises(TypeError, match="must override"):
        Learner(method=lambda: Empty(weight=1.0), trainer=Trainer(**SETTINGS), backbone=pixels, device="cpu").fit(
            *data()
        )


class TestAugmentation:
    def images(self) -> Tensor:
        return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8))

    def test_nothing_to_do_leaves_the_images_alone(self) -> None:
        images = self.images()
        assert torch.equal(Affine(rotation=0, scale=0, shift=0)(images), images)

    def test_a_shift_moves_a_dot_by_at_most_that_share_of_the_side(self) -> None:
        images = torch.zeros(200, 32, 32, 3, dtype=torch.uint8)
        images[:, 15:17, 15:17] = 255
        moved = Affine(rotation=0, scale=0, shift=0.1)(images).float().mean(-1)
        places = torch.arange(32.0)
        for profile in (moved.sum(1), moved.sum(2)):
            centres = (profile * places).sum(1) / profile.sum(1) - 15.5
            assert centres.abs().max() <= 3.2 + 0.1
            assert centres.abs().max() > 2.5
            assert centres.min() < 0 < centres.max()

    def test_each_image_has_its_own_and_the_seed_fixes_them(self) -> None:
        same = self.images()[:1].expand(6, -1, -1, -1)
        augment = Affine(rotation=10, scale=0.1, shift=0.1)
        torch.manual_seed(0)
        first = augment(same)
        torch.manual_seed(0)
        assert torch.equal(augment(same), first)
        assert all(not torch.equal(first[0], other) for other in first[1:])
        assert first.dtype == torch.uint8

    def test_places_are_exact_under_autocast(self) -> None:
        stripes = (torch.arange(224) * 97 % 256).to(torch.uint8)
        images = stripes.view(1, 1, 224, 1).expand(2, 224, 224, 3)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(Affine(rotation=0, scale=0, shift=0)(images), images)

    def test_features_are_not_augmented(self) -> None:
        Xs, ys, Xt = data()
        plain = learner().fit(Xs, ys, Xt).logits(Xt)
        augmented = learner(augment=Affine(rotation=10, scale=0.1, shift=0.1)).fit(Xs, ys, Xt).logits(Xt)
        np.testing.assert_array_equal(plain, augmented)


class TestCropFlip:
    def ramps(self, n: int = 400) -> Tensor:
        """Images whose red is the column, whose green is the row."""
        places = torch.arange(64, dtype=torch.uint8) * 4
        image = torch.stack([places.expand(64, 64), places[:, None].expand(64, 64), torch.zeros(64, 64)], dim=-1)
        return image.to(torch.uint8).expand(n, -1, -1, -1)

    def test_parts_have_the_size_the_area_and_the_ratio_that_are_asked_for(self) -> None:
        torch.manual_seed(0)
        parts = CropFlip(size=32, smallest=0.25, largest=0.5, ratio=1.5, flip=False)(self.ramps()).float() / 4
        assert parts.shape == (400, 32, 32, 3)
        width = (parts[:, 5, 30, 0] - parts[:, 5, 1, 0]) * 32 / 29 / 64
        height = (parts[:, 30, 5, 1] - parts[:, 1, 5, 1]) * 32 / 29 / 64
        area, ratio = width * height, width / height
        assert 0.24 < area.min() < 0.27
        assert 0.48 < area.max() < 0.52
        assert 1 / 1.55 < ratio.min() < 0.7
        assert 1.4 < ratio.max() < 1.55
        assert parts[:, 0, 0].min() < 1
        assert parts[:, -1, -1, :2].max() > 62

    def test_half_of_them_are_mirrored(self) -> None:
        torch.manual_seed(0)
        parts = CropFlip(size=32, smallest=0.25, largest=0.25, ratio=1, flip=True)(self.ramps()).float()
        mirrored = parts[:, 0, 0, 0] > parts[:, 0, -1, 0]
        assert 0.4 < mirrored.float().mean() < 0.6
        assert (parts[:, 0, 0, 1] < parts[:, -1, 0, 1]).all()

    def test_a_part_of_as_many_pixels_is_cut_along_them(self) -> None:
        torch.manual_seed(0)
        image = torch.randint(256, (64, 64, 3), dtype=torch.uint8)
        parts = CropFlip(size=56, smallest=0.765625, largest=0.765625, ratio=1, flip=True)(
            image.expand(200, -1, -1, -1)
        )
        cuts = image.unfold(0, 56, 1).unfold(1, 56, 1).permute(0, 1, 3, 4, 2).flatten(0, 1)  # (81, 56, 56, 3)
        known = {cut.numpy().tobytes() for way in (cuts, cuts.flip(2)) for cut in way.contiguous()}
        seen = {part.numpy().tobytes() for part in parts.contiguous()}
        assert seen <= known
        assert len(seen) > 100

    def test_the_whole_image_is_itself(self) -> None:
        whole = CropFlip(size=64, smallest=1.0, largest=1.0, ratio=1, flip=False)(self.ramps(2))
        assert torch.equal(whole, self.ramps(2))


class Deciding(SourceOnly):
    """Gives the logits that `change` makes of the network's."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change

    def classify(self, x: Tensor) -> Tensor:
        return self.change(super().classify(x))


def deciding(change: Callable[[Tensor], Tensor], **changes: Any) -> Learner:
    model = learner(**changes)
    model.method = partial(Deciding, change)
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_finite_numbers_are_no_prediction(value: float) -> None:
    Xs, ys, Xt = data()
    said = r"Deciding\.classify gives 14 of 14 samples logits that are no finite numbers"
    model = deciding(lambda logits: logits * 0 + value).fit(Xs, ys, Xt)
    with pytest.raises(DivergenceError, match=said):
        model.predict(Xt)
    model = deciding(lambda logits: logits * 0 + value, watch_every=5)
    model.watched = Xt
    with pytest.raises(DivergenceError, match=said):
        model.fit(Xs, ys, Xt)


def test_logits_may_rule_a_class_out() -> None:
    Xs, ys, Xt = data()
    ruled_out = torch.tensor([0.0, -torch.inf])
    assert set(deciding(lambda logits: logits + ruled_out).fit(Xs, ys, Xt).predict(Xt)) == {0}


def test_logits_of_another_shape_are_no_prediction() -> None:
    Xs, ys, Xt = data()
    for change, shape in ((lambda logits: logits.argmax(1), r"\(14,\)"), (lambda logits: logits[:, :1], r"\(14, 1\)")):
        with pytest.raises(ValueError, match=rf"Deciding\.classify returned logits of shape {shape}; expected \(samp"):
            deciding(change).fit(Xs, ys, Xt).predict(Xt)


class Odd(DeepMethod):
    """Returns `said` as the alignment."""

    def __init__(self, said: Any) -> None:
        super().__init__(weight=1.0)
        self.said = said

    def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
        said: Tensor = self.said
        return said


@pytest.mark.parametrize(
    ("said", "what"),
    [(None, "NoneType"), (0.5, "float"), (torch.ones(4), r"of shape \(4,\)")],
    ids=["nothing", "a constant", "one for each sample"],
)
def test_an_alignment_that_is_no_loss_is_named(said: object, what: str) -> None:
    model = learner()
    model.method = partial(Odd, said)
    with pytest.raises(TypeError, match=rf"^Odd\.alignment returned {what}; expected a tensor of one number, the loss"):
        model.fit(*data())


def test_a_loss_that_is_no_number_before_anything_was_trained_is_not_blamed_on_the_rate() -> None:
    model = learner()
    model.method = partial(Odd, torch.tensor(torch.nan))
    with pytest.raises(DivergenceError, match=r"alignment loss is nan at step 0 of 12; look at its formula") as raised:
        model.fit(*data())
    assert "trainer.lr" not in str(raised.value)


@pytest.mark.parametrize("name", ["classify", "embed"])
@pytest.mark.parametrize(
    ("said", "what"),
    [
        (lambda both: both, "Output"),
        (lambda both: both.logits[0], r"of shape \(\d,\)"),
        (lambda both: None, "NoneType"),
    ],
    ids=["the network's output", "a row for all", "nothing"],
)
def test_predictions_and_features_that_are_no_rows_are_named(name: str, said: Any, what: str) -> None:
    model = learner().fit(*data())
    Xt = data()[2]
    called = type("Odd", (SourceOnly,), {name: lambda self, x, domain=None: said(self.network(x))})
    getattr(called, name).__qualname__ = f"Odd.{name}"
    model.method_.__class__ = called
    with pytest.raises(TypeError, match=rf"^Odd\.{name} returned {what} for \d+ samples; expected a tensor with a row"):
        model.logits(Xt) if name == "classify" else model.features(Xt, "target")


def test_an_objective_that_is_a_bare_loss_is_named() -> None:
    class Bare(SourceOnly):
        def objectives(self, batch: Batch) -> Iterator[Objective]:
            yield super().objectives(batch).__next__().loss  # type: ignore[misc]

    model = learner()
    model.method = Bare
    with pytest.raises(TypeError, match=r"^Bare\.objectives yielded Tensor; expected an Objective: a loss and"):
        model.fit(*data())


class Idle(SourceOnly):
    """Has nothing to minimise, in the first step or ever."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until

    def objectives(self, batch: Batch) -> Iterator[Objective]:
        if not self.until <= batch.progress < 0.9:
            return
        yield from super().objectives(batch)


def test_a_network_that_nothing_trains_is_not_scored() -> None:
    model = learner()
    model.method = partial(Idle, 1.0)
    with pytest.raises(ValueError, match=r"Idle\.objectives yielded nothing at the first step; expected an Objective"):
        model.fit(*data())
    model.method = partial(Idle, 0.0)
    model.fit(*data())


def test_the_seed_fixes_what_a_method_draws_from_numpy_and_draws_outside_go_on() -> None:
    class Drawing(Odd):
        def alignment(self, source: Output, target: Output, batch: Batch) -> Tensor:
            return (source.features - target.features).pow(2).mean() * np.random.rand()  # noqa: NPY002

        def finish(self, xs: Tensor, xt: Tensor) -> None:
            np.random.rand()  # noqa: NPY002

    def logits(watch_every: int = 0) -> np.ndarray:
        model = learner(watch_every=watch_every)
        model.method, model.watched = partial(Drawing, None), data()[2]
        return model.fit(*data()).logits(data()[2])

    np.random.seed(0)  # noqa: NPY002
    first, drawn = logits(), np.random.rand()  # noqa: NPY002
    np.testing.assert_array_equal(first, logits())
    np.testing.assert_array_equal(first, logits(watch_every=5))
    np.random.seed(0)  # noqa: NPY002
    assert np.random.rand() == drawn  # noqa: NPY002
