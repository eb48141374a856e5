"""The layers that know the domains against plain batch normalisation, and the methods made of them."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tda.backbones.base import Network, Output
from tda.backbones.given import Given
from tda.errors import UsageError
from tda.methods.deep.adabn import AdaBN
from tda.methods.deep.autodial import AutoDIAL, Mixed
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.dann import domain_loss
from tda.methods.deep.dsbn import DSBN
from tda.methods.deep.entropy_minimisation import entropies
from tda.methods.deep.normalisation import Separate, replace_normalisation
from tda.methods.deep.transnorm import Transferable, TransNorm

SHAPES = [(12, 3), (12, 3, 4, 4)]
RAMP: dict[str, Any] = {"weight": 0.3, "gamma": 10.0, "height": 0.1, "hidden": None}


def network(bottleneck: int | None = 4) -> Network:
    torch.manual_seed(0)
    features = Given(bottleneck=bottleneck, hidden=[], discriminator=[5])
    features.width = 3
    return Network(features, classes=3)


def layer(ndim: int) -> nn.BatchNorm1d | nn.BatchNorm2d:
    made: nn.BatchNorm1d | nn.BatchNorm2d = nn.BatchNorm1d(3) if ndim == 2 else nn.BatchNorm2d(3)
    with torch.no_grad():
        made.weight.copy_(torch.tensor([1.0, 2, 0.5]))
        made.bias.copy_(torch.tensor([0.0, 1, -1]))
    return made


def halves(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(shape), 2 * torch.randn(shape) + torch.arange(3.0).view(1, 3, *[1] * (len(shape) - 2))


def plain(x: Tensor, mean: Tensor, variance: Tensor, like: nn.BatchNorm1d | nn.BatchNorm2d) -> Tensor:
    return F.batch_norm(x, mean, variance, like.weight, like.bias, training=False, eps=like.eps)


def statistics(x: Tensor, correction: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel; the running variance is the one with a correction of 1."""
    flat = x.transpose(0, 1).flatten(1)
    return flat.mean(1), flat.var(1, correction=correction)


@pytest.mark.parametrize("shape", SHAPES)
class TestLayers:
    def test_separate_normalises_each_half_by_itself_and_evaluates_as_the_target(self, shape: Any) -> None:
        given, (s, t) = layer(len(shape)), halves(shape)
        made = Separate(given)
        torch.testing.assert_close(made(torch.cat([s, t])), torch.cat([given(s), copy.deepcopy(given)(t)]))
        for _ in range(200):
            made(torch.cat([s, t]))
        made.eval()
        torch.testing.assert_close(made(t), plain(t, *statistics(t, 1), given))
        made.evaluated = "source"
        torch.testing.assert_close(made(s), plain(s, *statistics(s, 1), given))

    def test_transnorm_weighs_channels_by_the_distance_of_the_domains(self, shape: Any) -> None:
        given, (s, t) = layer(len(shape)), halves(shape)
        made = Transferable(given)
        found = made(torch.cat([s, t]))
        flat = [x.transpose(0, 1).flatten(1).double().numpy() for x in (s, t)]
        ratio = [x.mean(1) / np.sqrt(x.var(1, ddof=1) + 1e-5) for x in flat]
        near = 1 / (1 + np.abs(ratio[0] - ratio[1]))
        weights = torch.tensor(1 + 3 * near / near.sum(), dtype=torch.float32).view(1, 3, *[1] * (len(shape) - 2))
        expected = torch.cat([plain(x, *statistics(x), given) for x in (s, t)]) * weights
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
        assert len([*made.parameters()]) == 2
        for _ in range(300):
            made(torch.cat([s, t]))
        torch.testing.assert_close(made.eval()(t), plain(t, *statistics(t, 1), given) * weights, atol=1e-4, rtol=1e-4)
        made.evaluated = "source"
        torch.testing.assert_close(made(s), plain(s, *statistics(s, 1), given) * weights, atol=1e-4, rtol=1e-4)

    def test_no_gradient_flows_through_transnorms_weights(self, shape: Any) -> None:
        given, (s, t) = layer(len(shape)), (half.requires_grad_() for half in halves(shape))
        found, unweighted = (made(given)(torch.cat([s, t])) for made in (Transferable, Separate))
        sizes = [x.detach().transpose(0, 1).flatten(1).norm(dim=1) for x in (found, unweighted)]
        probe = torch.randn(found.shape)
        weights = (sizes[0] / sizes[1]).view(1, 3, *[1] * (len(shape) - 2))
        slopes, plain = (torch.autograd.grad((y * probe).sum(), [s, t]) for y in (found, weights * unweighted))
        torch.testing.assert_close(slopes, plain, atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("alpha", [0.5, 0.7, 1.0])
    def test_autodial_takes_mean_and_variance_of_the_mixture(self, shape: Any, alpha: float) -> None:
        """A mixture of 7 parts to 3 is that of samples repeated 7 and 3 times."""
        given, (s, t) = layer(len(shape)), halves(shape)
        made = Mixed(given, alpha)
        parts, rest = round(10 * alpha), round(10 * (1 - alpha))
        own, other = (torch.cat([a] * parts + [b] * rest) for a, b in ((s, t), (t, s)))
        expected = torch.cat([plain(s, *statistics(own), given), plain(t, *statistics(other), given)])
        torch.testing.assert_close(made(torch.cat([s, t])), expected, atol=1e-4, rtol=1e-4)
        for _ in range(300):
            made(torch.cat([s, t]))
        torch.testing.assert_close(made.eval()(t), expected[len(s) :], atol=1e-3, rtol=1e-3)
        made.evaluated = "source"
        torch.testing.assert_close(made(s), expected[: len(s)], atol=1e-3, rtol=1e-3)


def test_autodial_is_exact_far_from_nought() -> None:
    s, t = (100 + 0.01 * half for half in halves((60, 3)))
    found = Mixed(nn.BatchNorm1d(3, eps=1e-9), 0.8)(torch.cat([s, t]))
    mixture = torch.cat([s] * 4 + [t]).double()
    expected = (s - mixture.mean(0)) / mixture.std(0, correction=0)
    torch.testing.assert_close(found[: len(s)].double(), expected, atol=1e-2, rtol=1e-2)


def test_autodial_keeps_alpha_between_half_and_one() -> None:
    made = Mixed(nn.BatchNorm1d(3), 1.0)
    optimiser = torch.optim.SGD([made.alpha], lr=1e3)
    s, t = halves((12, 3))
    for sign in (1, -1):
        loss = sign * made(torch.cat([s, t]))[12:].square().mul(torch.arange(3.0)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        made(torch.cat([s, t]))
        assert 0.5 <= made.alpha.item() <= 1


@pytest.mark.parametrize("bottleneck", [None, 4])
def test_every_normalisation_is_replaced_and_one_is_added_where_there_is_none(bottleneck: int | None) -> None:
    made = network(bottleneck)
    replace_normalisation(made, Separate)
    assert len([module for module in made.modules() if isinstance(module, Separate)]) == 1
    assert len([module for module in made.modules() if isinstance(module, nn.BatchNorm1d)]) == 2
    assert made(torch.randn(6, 3)).logits.shape == (6, 3)


@pytest.mark.parametrize(
    ("method", "own"),
    [
        (AdaBN(), nn.BatchNorm1d),
        (DSBN(**RAMP, decay=0.7, share=0.5), Separate),
        (TransNorm(**RAMP, entropy=False, random_dim=None, bsp=0.0), Transferable),
        (AutoDIAL(weight=0.3, initial=0.8), Mixed),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, DeepMethod) else "",
)
def test_methods_put_in_the_layer_of_their_own(method: DeepMethod, own: type[nn.Module]) -> None:
    method.prepare(network(bottleneck=None))
    assert [type(module) is own for module in method.network.bottleneck.children()] == [False, True]


def test_autodial_starts_from_the_share_given_and_minimises_the_targets_entropy() -> None:
    method = AutoDIAL(weight=0.3, initial=0.8)
    method.prepare(network())
    assert [m.alpha.item() for m in method.modules() if isinstance(m, Mixed)] == [pytest.approx(0.8)]
    source, target = (Output(torch.randn(n, 4), torch.randn(n, 3)) for n in (5, 4))
    now = Batch(torch.cat([source.features, target.features]), torch.zeros(5), torch.arange(4), 0.4)
    torch.testing.assert_close(method.alignment(source, target, now), entropies(target.logits).mean())


class TestAdaBN:
    def test_statistics_are_the_targets_and_nothing_else_changes(self) -> None:
        method = AdaBN()
        method.prepare(network())
        xs, xt = torch.randn(40, 3), 3 * torch.randn(700, 3) + 1
        method.network(xs)
        before = copy.deepcopy(method.state_dict())
        method.finish(xs, xt)
        after = method.state_dict()
        inputs = method.network.bottleneck[0](xt).detach()  # type: ignore[index]
        torch.testing.assert_close(after["network.bottleneck.1.running_mean"], inputs.mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(after["network.bottleneck.1.running_var"], inputs.var(0), atol=1e-1, rtol=2e-2)
        assert after["network.bottleneck.1.num_batches_tracked"] == 2  # of 350: about 512 at a time
        for name, value in before.items():
            if "running" not in name and "batches" not in name:
                assert torch.equal(value, after[name])

    def test_dropout_is_off_as_in_prediction(self) -> None:
        method = AdaBN()
        method.prepare(network())
        method.network.bottleneck.insert(0, nn.Dropout(0.5))  # type: ignore[operator]
        xt = 3 * torch.randn(700, 3) + 1
        method.finish(xt, xt)
        _, linear, normalisation, *_ = method.network.bottleneck  # type: ignore[misc]
        torch.testing.assert_close(normalisation.running_mean, linear(xt).mean(0), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(normalisation.running_var, linear(xt).var(0), atol=1e-1, rtol=2e-2)

    def test_one_target_sample_has_no_variance(self) -> None:
        method = AdaBN()
        method.prepare(network())
        with pytest.raises(UsageError, match="expected two or more"):
            method.finish(torch.randn(4, 3), torch.randn(1, 3))


class TestDSBN:
    def made(self, **changes: Any) -> DSBN:
        method = DSBN(**(RAMP | {"decay": 0.7, "share": 0.5} | changes))
        method.prepare(network())
        return method

    def test_the_first_stage_says_classes_in_the_precision_of_scoring(self) -> None:
        method, samples = self.made(), torch.randn(6, 3)
        method.begin(samples, torch.arange(6) % 2, samples)
        seen: list[torch.dtype] = []
        method.network.head.register_forward_hook(lambda head, x, y: seen.append(y.dtype))
        batch = Batch(samples, torch.tensor([0, 1, 2]), torch.arange(3), 0.5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            [*method.objectives(batch)]
        assert seen == [torch.float32, torch.bfloat16]
        assert method.training

    def test_the_first_stage_adds_the_distance_of_moving_centroids(self) -> None:
        method = self.made(height=0.0)
        torch.manual_seed(2)
        ys = torch.tensor([0, 0, 1, 1, 0])
        expected = np.zeros((2, 3, 4))
        for _ in range(3):
            fs, ft, logits = torch.randn(5, 4), torch.randn(4, 4), torch.randn(4, 3)
            source, target = Output(fs, torch.randn(5, 3)), Output(ft, logits)
            loss = method.alignment(source, target, Batch(torch.cat([fs, ft]), ys, torch.arange(4), 0.4))
            for side, (f, labels) in enumerate(((fs, ys), (ft, logits.argmax(1)))):
                for c in labels.unique().tolist():
                    mean = f[labels == c].mean(0).numpy()
                    expected[side, c] = 0.7 * expected[side, c] + 0.3 * mean
        ramp = 2 / (1 + np.exp(-4)) - 1
        semantic = ramp * ((expected[0] - expected[1]) ** 2).mean()
        domain = domain_loss(method.discriminator(torch.cat([fs, ft])).squeeze(1), 5)
        assert loss.item() == pytest.approx(domain.item() + semantic, rel=1e-5)
        np.testing.assert_allclose(method.centroids.numpy(), expected, atol=1e-6)

    def test_the_distance_of_centroids_moves_the_features_of_this_batch_alone(self) -> None:
        method = self.made()
        torch.manual_seed(2)
        source, target = (Output(torch.randn(n, 4, requires_grad=True), torch.randn(n, 3)) for n in (5, 4))
        ys = torch.tensor([0, 0, 1, 1, 0])
        for _ in range(2):
            slopes = torch.autograd.grad(method._semantic(source, target, ys), [source.features, target.features])
            gap = method.centroids[0] - method.centroids[1]
            for sign, slope, labels in zip((1, -1), slopes, (ys, target.logits.argmax(1)), strict=True):
                size = labels.bincount(minlength=3)[labels].unsqueeze(1)
                torch.testing.assert_close(slope, sign * 2 * 0.3 * gap[labels] / size / gap.numel())

    def test_the_first_stage_weighs_its_distances(self) -> None:
        method = self.made()
        xs, xt = torch.randn(8, 3), torch.randn(8, 3)
        now = Batch(torch.cat([xs, xt]), torch.arange(8) % 3, torch.arange(8), 0.4)
        source, target = copy.deepcopy(method).pair(now)
        expected = F.cross_entropy(source.logits, now.ys)
        expected = expected + 0.3 * copy.deepcopy(method).alignment(source, target, now)
        (objective,) = method.objectives(now)
        torch.testing.assert_close(objective.loss, expected)

    def test_the_second_stage_mixes_the_labels_of_the_first_with_its_own(self) -> None:
        method = self.made()
        xs, xt = torch.randn(8, 3), torch.randn(9, 3)
        ys, it = torch.arange(8) % 3, torch.tensor([8, 3, 1, 0, 2, 7, 7, 5])
        method.begin(xs, ys, xt)
        with torch.no_grad():
            first = method.eval().classify(xt).softmax(1)
        now = Batch(torch.cat([xs, xt[it]]), ys, it, 0.6)
        (objective,) = method.train().objectives(now)
        with torch.no_grad():
            source, target = method.pair(now)
        mixed = 2 / (1 + np.exp(-10 * 0.2)) - 1
        pseudo = ((1 - mixed) * first[it] + mixed * target.logits.softmax(1)).argmax(1)
        expected = F.cross_entropy(source.logits, ys) + mixed * F.cross_entropy(target.logits, pseudo)
        torch.testing.assert_close(objective.loss, expected)
        assert set(objective.terms) == {"classification", "pseudo-label"}
        assert method.training


def test_autodial_evaluates_by_a_share_in_its_range() -> None:
    made = Mixed(layer(2), 1.0).eval()
    s, t = halves((12, 3))
    with torch.no_grad():
        made.means[0], made.variances[0] = s.mean(0), 0.5 * s.var(0)
        expected = made(t)
        made.alpha.fill_(1.2)  # as a last step may leave it
        torch.testing.assert_close(made(t), expected)


@pytest.mark.parametrize(
    "method",
    [
        DSBN(**RAMP, decay=0.7, share=0.5),
        TransNorm(**RAMP, entropy=False, random_dim=None, bsp=0.0),
        AutoDIAL(weight=0.3, initial=0.8),
    ],
    ids=lambda given: type(given).__name__,
)
def test_each_domain_is_embedded_as_it_was_trained(method: DeepMethod) -> None:
    """After many steps on one batch the running statistics are its own, but for the correction of the variance."""
    method.prepare(network())
    s, t = halves((400, 3))
    with torch.no_grad():
        for _ in range(200):
            source, target = method.pair(Batch(torch.cat([s, t]), torch.zeros(400).long(), torch.arange(400), 0.5))
        method.eval()
        torch.testing.assert_close(method.embed(s, "source"), source.features, atol=0.01, rtol=0.01)
        torch.testing.assert_close(method.embed(t, "target"), target.features, atol=0.01, rtol=0.01)
        assert not torch.allclose(method.embed(s, "target"), source.features, atol=0.1)
        torch.testing.assert_close(method.classify(t), target.logits, atol=0.02, rtol=0.02)
