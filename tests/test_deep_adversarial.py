"""The adversarial methods against plain loops, closed forms and scikit-learn."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import exp, log, tanh
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose
from omegaconf import OmegaConf
from sklearn.metrics import log_loss
from torch import Tensor, nn
from torch.distributions import Beta

from tda.backbones.base import Network, Output, perceptron
from tda.backbones.ganin import SVHNNet
from tda.backbones.given import Given
from tda.backbones.mcd_lenet import MCDLeNet
from tda.backbones.pixels import Pixels
from tda.config import build, composer
from tda.methods.deep.adda import ADDA, encoder_loss
from tda.methods.deep.base import Batch, DeepMethod, Objective
from tda.methods.deep.bsp import spectral_penalty
from tda.methods.deep.can import CAN, Blocks, selected
from tda.methods.deep.cdan import CDAN, certainties
from tda.methods.deep.daan import DAAN, dynamic_factor
from tda.methods.deep.dann import DANN, domain_loss
from tda.methods.deep.domain_confusion import DomainConfusion, indifference
from tda.methods.deep.domain_mixup import DomainMixup, mixed
from tda.methods.deep.mada import MADA, ClassDiscriminators
from tda.methods.deep.mcd import MCD, discrepancy
from tda.methods.deep.mdd import MDD, disagreement
from tda.methods.deep.reversal import ramp
from tda.methods.deep.wdgrl import WDGRL, gradient_penalty
from tests.test_methods import easy_shift, estimator
from tests.test_trainer import noting

NAMES = [
    "adda", "adda_confusion", "adda_minimax", "bsp_cdan", "bsp_dann", "can", "cdan", "cdan_e", "daan",
    "domain_confusion", "domain_mixup", "ican", "mada", "mcd", "mdd", "rman", "wdgrl",
]  # fmt: skip
RAMP: dict[str, Any] = {"weight": 1.0, "gamma": 10.0, "height": 0.7, "hidden": [6]}
PHASES: dict[str, Any] = {"weight": 0.3, "pretraining": 0.5, "hidden": [6]}
CLASSES, WIDTH = 3, 4


def prepared(method: DeepMethod) -> DeepMethod:
    torch.manual_seed(0)
    backbone = Given(bottleneck=WIDTH, hidden=[5], discriminator=[7])
    backbone.width = 8
    method.prepare(Network(backbone, classes=CLASSES))
    return method


def outputs(ns: int = 5, nt: int = 6) -> tuple[Output, Output]:
    """Features and logits of both domains, each a leaf that gathers a gradient."""
    draw = torch.Generator().manual_seed(1)
    source, target = (
        Output(*(torch.randn(n, d, generator=draw).requires_grad_() for d in (WIDTH, CLASSES))) for n in (ns, nt)
    )
    return source, target


def batch(progress: float = 0.2, n: int = 6) -> Batch:
    draw = torch.Generator().manual_seed(2)
    xs, xt = torch.randn(n, 8, generator=draw), torch.randn(n, 8, generator=draw) + 1
    return Batch(torch.cat([xs, xt]), torch.arange(n) % CLASSES, torch.arange(n), progress)


def stepped(method: DeepMethod, objectives: Iterator[Objective], lr: float = 0.05) -> list[Objective]:
    """Take one gradient step on each objective, changing what it names, as the trainer does."""
    taken = []
    for objective in objectives:
        chosen = [p for module in objective.train for p in module.parameters() if p.requires_grad]
        for p, gradient in zip(chosen, torch.autograd.grad(objective.loss, chosen, allow_unused=True), strict=True):
            if gradient is not None:
                p.data -= lr * gradient
        taken.append(objective)
    return taken


def state(*modules: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for module in modules for p in module.parameters()]


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def binary(said: Tensor, target: bool) -> Tensor:
    """-log of the probability given to the right domain."""
    return -torch.log(torch.sigmoid(said) if target else 1 - torch.sigmoid(said))


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.9])
def test_ramp_is_a_hyperbolic_tangent(progress: float) -> None:
    assert ramp(progress, 10.0, 0.3) == pytest.approx(0.3 * tanh(5 * progress))


def test_domain_loss_is_scikit_learns_log_loss() -> None:
    said = torch.tensor([0.3, -1.0, 2.0, 0.1, -0.7])
    plain = log_loss([0, 0, 1, 1, 1], torch.sigmoid(said).numpy())
    assert domain_loss(said, 2).item() == pytest.approx(plain, rel=1e-6)
    assert domain_loss(said.expand(4, 5), 2).item() == pytest.approx(plain, rel=1e-6)


def test_spectral_penalty_is_the_squared_spectral_norm() -> None:
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert spectral_penalty(features).item() == pytest.approx(np.linalg.norm(features.numpy(), 2) ** 2, rel=1e-5)
    assert spectral_penalty(features, 5).item() == pytest.approx(features.square().sum().item(), rel=1e-5)


class TestReversal:
    """Features climb what the domain classifier descends, scaled by the ramp; the classifier's own gradient is whole."""

    @pytest.mark.parametrize(
        "method",
        [
            DANN(**RAMP),
            CDAN(**RAMP, entropy=True, random_dim=None, bsp=0.0),
            CDAN(**RAMP, entropy=False, random_dim=9, bsp=0.0),
            MADA(**RAMP),
            DAAN(**RAMP, memory=0.0),
            MDD(**RAMP, margin=4.0),
        ],
        ids=lambda method: type(method).__name__,
    )
    def test_gradients(self, method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        prepared(method)
        own = [p for name, p in method.named_parameters() if not name.startswith("network.")]
        source, target = outputs()
        reversed_ = torch.autograd.grad(method.alignment(source, target, batch()), [source[0], target[0], *own])
        module = __import__(type(method).__module__, fromlist=["reverse_gradient"])
        monkeypatch.setattr(module, "reverse_gradient", lambda x, strength: x)
        plain = torch.autograd.grad(method.alignment(source, target, batch()), [source[0], target[0], *own])
        strength = 0.7 * tanh(1.0)
        for k, (a, b) in enumerate(zip(reversed_, plain, strict=True)):
            torch.testing.assert_close(a, -strength * b if k < 2 else b)

    def test_bsp_adds_the_leading_singular_values_of_each_domain(self) -> None:
        source, target = outputs()
        losses = [prepared(DANN(**RAMP, bsp=bsp)).alignment(source, target, batch()).item() for bsp in (0.0, 0.01)]
        norms = [np.linalg.norm(half.features.detach().numpy(), 2) for half in (source, target)]
        assert losses[1] - losses[0] == pytest.approx(0.01 * (norms[0] ** 2 + norms[1] ** 2), rel=1e-4)


class TestCDAN:
    @pytest.mark.parametrize("entropy", [False, True])
    def test_loss_is_the_papers_sum_over_samples(self, entropy: bool) -> None:
        method = prepared(CDAN(**RAMP, entropy=entropy, random_dim=None, bsp=0.0))
        source, target = outputs()
        loss = method.alignment(source, target, batch())
        total = torch.tensor(0.0)
        for half, is_target in ((source, False), (target, True)):
            weights, terms = [], []
            for f, logits in zip(*half, strict=True):
                g = torch.softmax(logits, 0)
                said = method.discriminator(torch.outer(g, f).flatten())  # type: ignore[operator]
                weights.append(1 + exp(sum(p * log(p) for p in g.tolist())) if entropy else 1.0)
                terms.append(weights[-1] * binary(said, is_target).squeeze())
            total = total + sum(terms) / sum(weights) / 2
        torch.testing.assert_close(loss, total)

    def test_randomised_map_keeps_inner_products(self) -> None:
        method = prepared(CDAN(**RAMP, entropy=False, random_dim=200_000, bsp=0.0))
        assert isinstance(method, CDAN)
        f, g = torch.randn(2, WIDTH), torch.rand(2, CLASSES)
        one, other = method.joint(f, g)
        assert (one @ other).item() == pytest.approx(((f[0] @ f[1]) * (g[0] @ g[1])).item(), abs=0.05)

    def test_dropout_is_of_the_domain_classifiers_hidden_units(self) -> None:
        layers = prepared(CDAN(**RAMP, entropy=False, random_dim=None, bsp=0.0, dropout=0.5)).discriminator
        assert [type(layer) for layer in layers] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]  # type: ignore[union-attr]

    def test_certainty_goes_from_the_uniform_prediction_to_the_sure_one(self) -> None:
        certain = certainties(torch.tensor([[0.0, 0.0, 0.0], [1000.0, 0.0, 0.0]]))
        torch.testing.assert_close(certain, torch.tensor([1 + 1 / 3, 2.0]))

    def test_the_weights_draw_predictions_too_in_reverse_but_the_map_does_not(self) -> None:
        source, target = outputs()
        prepared(CDAN(**RAMP, entropy=False, random_dim=None, bsp=0.0)).alignment(source, target, batch()).backward()
        assert source.logits.grad is None
        method = prepared(CDAN(**RAMP, entropy=True, random_dim=None, bsp=0.0))
        (found,) = torch.autograd.grad(method.alignment(source, target, batch()), source.logits)
        weights = certainties(source.logits)
        with torch.no_grad():
            joint = method.joint(source.features, source.logits.softmax(1))  # type: ignore[operator]
            wrong = F.softplus(method.discriminator(joint)).squeeze(1)  # type: ignore[operator]
        (plain,) = torch.autograd.grad((weights * wrong).sum() / weights.sum().detach() / 2, source.logits)
        torch.testing.assert_close(found, -0.7 * tanh(1.0) * plain)


class TestADDA:
    def test_the_three_losses(self) -> None:
        said = torch.tensor([0.5, -1.5])
        d = 1 / (1 + np.exp(-said.numpy().astype(float)))
        plain = {
            "minimax": np.log(1 - d).mean(),
            "gan": -np.log(d).mean(),
            "confusion": -(0.5 * np.log(d) + 0.5 * np.log(1 - d)).mean(),
        }
        for loss, value in plain.items():
            assert encoder_loss(said, loss).item() == pytest.approx(value, rel=1e-5)  # type: ignore[arg-type]

    def test_first_phase_sees_the_source_alone(self) -> None:
        method = prepared(ADDA(**PHASES, loss="gan"))
        data = batch(progress=0.3)
        (objective,) = method.objectives(data)
        method.eval()
        assert objective.train == (method.network,)
        method.train()
        torch.testing.assert_close(objective.loss, F.cross_entropy(method.network(data.xs).logits, data.ys))
        with pytest.raises(RuntimeError):
            torch.autograd.grad(objective.loss, [*method.discriminator.parameters()])  # type: ignore[union-attr]

    @pytest.mark.parametrize("loss", ["minimax", "gan", "confusion"])
    def test_second_phase_moves_the_target_encoder_alone(self, loss: Any) -> None:
        method = prepared(ADDA(**PHASES, loss=loss))
        assert isinstance(method, ADDA)
        stepped(method, method.objectives(batch(progress=0.1)))
        learned, head = state(method.encoder), state(method.network.head)
        telling, fooling = stepped(method, method.objectives(batch(progress=0.6)))
        assert same(state(method.source_encoder), learned)
        assert same(state(method.network.head), head)
        assert not same(state(method.encoder), learned)
        assert telling.train == (method.discriminator,)
        assert fooling.terms.keys() == {"encoder"}
        stepped(method, method.objectives(batch(progress=0.7)))
        assert same(state(method.source_encoder), learned)

    def test_the_domain_classifier_cannot_tell_the_domains_by_dropout(self) -> None:
        method = prepared(ADDA(**PHASES, loss="gan")).train()
        assert isinstance(method, ADDA)
        method.network.backbone = nn.Dropout(0.5)  # type: ignore[assignment]
        method.source_encoder = method.encoder
        seen: list[Tensor] = []
        method.discriminator[0].register_forward_hook(lambda layer, given, made: seen.extend(given))
        next(method.objectives(Batch(torch.ones(1000, 8), torch.zeros(500).long(), torch.arange(500), 0.6)))
        target, source = seen[0].split(500)
        assert len(source.unique(dim=0)) > 50
        torch.testing.assert_close(source.mean(0), target.mean(0), atol=0.15, rtol=0)

    def test_losses_of_the_second_phase_are_the_papers(self) -> None:
        method = prepared(ADDA(**PHASES, loss="gan"))
        assert isinstance(method, ADDA)
        stepped(method, method.objectives(batch(progress=0.6)))
        data = batch(progress=0.7)
        telling, fooling = method.objectives(data)
        said = method.discriminator(torch.cat([method.encoder(data.xt), method.source_encoder(data.xs)])).squeeze(1)
        torch.testing.assert_close(telling.loss, domain_loss(said, 6))
        torch.testing.assert_close(fooling.loss, 0.3 * encoder_loss(said[:6], "gan"))

    def test_the_encoder_is_told_apart_within_the_batch_that_the_domain_classifier_learned_from(self) -> None:
        """Batch normalisation of the target alone would hide what tells it from the source."""
        method = prepared(ADDA(**(PHASES | {"hidden": [6, "norm"]}), loss="gan"))
        assert isinstance(method, ADDA)
        data = batch(progress=0.6)
        _, fooling = method.objectives(data)
        said = method.discriminator(torch.cat([method.encoder(data.xt), method.source_encoder(data.xs)])).squeeze(1)
        torch.testing.assert_close(fooling.loss, 0.3 * encoder_loss(said[:6], "gan"))

    def test_each_domain_is_described_by_its_own_encoder_once_there_are_two(self) -> None:
        method, data = prepared(ADDA(**PHASES, loss="gan")), batch()
        assert isinstance(method, ADDA)
        stepped(method, method.objectives(batch(progress=0.1)))
        torch.testing.assert_close(method.embed(data.xs, "source"), method.encoder(data.xs))
        stepped(method, method.objectives(batch(progress=0.6)))
        source, target = (method.embed(data.xt, domain) for domain in ("source", "target"))
        torch.testing.assert_close(source, method.source_encoder(data.xt))
        torch.testing.assert_close(target, method.encoder(data.xt))
        assert not torch.allclose(source, target)
        loaded = prepared(ADDA(**PHASES, loss="gan"))
        loaded.load_state_dict(method.state_dict())
        torch.testing.assert_close(loaded.embed(data.xt, "source"), source)

    def test_fooling_makes_the_target_look_like_the_source(self) -> None:
        method = prepared(ADDA(**PHASES, loss="gan"))
        assert isinstance(method, ADDA)
        data = batch(progress=0.6)
        objectives = method.objectives(data)
        next(objectives)
        before = method.discriminator(method.encoder(data.xt)).mean()
        stepped(method, objectives)
        assert method.discriminator(method.encoder(data.xt)).mean() > before


@pytest.mark.parametrize(
    "method", [ADDA(loss="gan", **PHASES), MCD(weight=1.0, generator_steps=3, hidden=[5])], ids=["adda", "mcd"]
)
def test_without_an_encoder_to_train_there_is_a_clear_word(method: DeepMethod) -> None:
    given = Given(bottleneck=None, hidden=[], discriminator=[7])
    given.width = 8
    with pytest.raises(ValueError, match=r"(ADDA|MCD) trains what lies below the head.*set backbone.bottleneck"):
        method.prepare(Network(given, classes=CLASSES))


class TestMCD:
    def method(self) -> MCD:
        method = prepared(MCD(weight=0.3, generator_steps=3, hidden=[5]))
        assert isinstance(method, MCD)
        return method

    def test_discrepancy_is_the_mean_absolute_difference(self) -> None:
        one, other = np.array([[1.0, 2.0, 0.5]]), np.array([[0.0, 0.1, 3.0]])
        p, q = (np.exp(z) / np.exp(z).sum() for z in (one, other))
        given = discrepancy(torch.tensor(one), torch.tensor(other)).item()
        assert given == pytest.approx(np.abs(p - q).sum() / 3, rel=1e-6)

    def test_heads_part_and_features_draw_them_together(self) -> None:
        method, data = self.method(), batch()
        a, b, *c = stepped(method, method.objectives(data), lr=0.02)
        assert len(c) == 3
        assert a.train == (method,)
        assert b.train == (method.network.head, method.second)
        assert all(method.network.head not in objective.train for objective in c)
        assert c[-1].terms["discrepancy"] < c[0].terms["discrepancy"]

    def test_losses_of_the_steps_are_the_papers(self) -> None:
        method, data = self.method(), batch()
        a, b, *c = method.objectives(data)
        source, target = method.network(data.xs), method.network(data.xt)
        classification = F.cross_entropy(source.logits, data.ys)
        classification = classification + F.cross_entropy(method.second(source.features), data.ys)
        apart = discrepancy(target.logits, method.second(target.features))
        torch.testing.assert_close(a.loss, classification)
        torch.testing.assert_close(b.loss, classification - 0.3 * apart)
        torch.testing.assert_close([objective.loss for objective in c], [0.3 * apart] * 3)

    def test_both_heads_see_as_many_batches(self) -> None:
        torch.manual_seed(0)
        method = MCD(weight=0.3, generator_steps=3, hidden=[5])
        backbone = MCDLeNet(size=28, bottleneck=None, hidden=[5], discriminator=[7], dropout=0.5)
        method.prepare(Network(backbone, classes=CLASSES))
        images = torch.randint(0, 256, (12, 28, 28, 3), dtype=torch.uint8)
        stepped(method, method.objectives(Batch(images, torch.arange(6) % CLASSES, torch.arange(6), 0.2)))
        seen = {name: tensor.item() for name, tensor in method.named_buffers() if name.endswith("num_batches_tracked")}
        assert {count for name, count in seen.items() if ".head." in name or "second." in name} == {6}

    def test_both_heads_are_scored(self) -> None:
        method, x = self.method().eval(), batch().xt
        features, first = method.network(x)
        torch.testing.assert_close(method.classify(x), (first + method.second(features)) / 2)
        assert not torch.allclose(first, method.second(features))


class TestMDD:
    def test_disagreement_is_minus_the_log_of_the_rest(self) -> None:
        logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(0)).double()
        classes = torch.tensor([0, 1, 2, 0, 1, 2])
        plain = np.mean([-np.log(1 - torch.softmax(z, 0)[c].item()) for z, c in zip(logits, classes, strict=True)])
        assert disagreement(logits, classes).item() == pytest.approx(plain, rel=1e-9)

    def test_alignment_is_the_papers_formula_and_leaves_the_classifier_alone(self) -> None:
        method = prepared(MDD(**RAMP, margin=4.0))
        source, target = outputs()
        loss = method.alignment(source, target, batch())
        total = 0.0
        for f, z in zip(*source, strict=True):
            total -= 4 * torch.log_softmax(method.adversary(f), 0)[z.argmax()].item() / 5  # type: ignore[operator]
        for f, z in zip(*target, strict=True):
            total -= log(1 - torch.softmax(method.adversary(f), 0)[z.argmax()].item()) / 6  # type: ignore[operator]
        assert loss.item() == pytest.approx(total, rel=1e-5)
        loss.backward()
        assert source.logits.grad is None
        assert target.logits.grad is None

    def test_the_adversary_sees_both_domains_in_one_batch(self) -> None:
        """Batch normalisation of each by itself would hide what tells them apart."""
        method = prepared(MDD(**RAMP, margin=4.0))
        method.adversary = nn.Sequential(nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES))
        source, target = outputs()
        said = method.adversary(torch.cat([source.features, target.features]))
        expected = 4 * F.cross_entropy(said[:5], source.logits.argmax(1))
        expected = expected + disagreement(said[5:], target.logits.argmax(1))
        torch.testing.assert_close(method.alignment(source, target, batch()), expected)


class TestClassDiscriminators:
    def test_they_are_perceptrons_side_by_side(self) -> None:
        torch.manual_seed(3)
        together = ClassDiscriminators(CLASSES, WIDTH, 6, 5)
        for bias in together.biases:
            nn.init.normal_(bias)
        features, logits = torch.randn(7, WIDTH), torch.randn(7, CLASSES)
        said = together(features, logits)
        for c in range(CLASSES):
            alone = perceptron(WIDTH, 6, 5, 1)
            for layer, weight, bias in zip(alone[::2], together.weights, together.biases, strict=True):
                layer.weight.data, layer.bias.data = weight[c].T, bias[c, 0]  # type: ignore[union-attr]
            expected = alone(logits.softmax(1)[:, c : c + 1] * features).squeeze(1)
            torch.testing.assert_close(said[c], expected)

    def test_they_draw_their_weights_as_told(self) -> None:
        torch.manual_seed(3)
        together = ClassDiscriminators(CLASSES, 60, 50, 40, initial_std=[0.01, 0.3])
        assert [weight.std().item() for weight in together.weights] == pytest.approx([0.01, 0.01, 0.3], rel=0.15)

    @pytest.mark.parametrize("widths", [(900,), (1, 900)], ids=["inputs", "hidden units"])
    def test_they_drop_half_and_double_the_rest(self, widths: tuple[int, ...]) -> None:
        """Of 900 ones whose sum is told: 900 on average, with a standard deviation of 30."""
        torch.manual_seed(3)
        alone = ClassDiscriminators(1, *widths, dropout=0.5)
        for weight, bias in zip(alone.weights[:-1], alone.biases[:-1], strict=True):
            nn.init.zeros_(weight)
            nn.init.ones_(bias)
        nn.init.ones_(alone.weights[-1])
        features, logits = torch.ones(200, widths[0]), torch.zeros(200, 1)
        said = alone(features, logits)
        assert said.mean().item() == pytest.approx(900, abs=10)
        assert said.std().item() == pytest.approx(30, rel=0.2)
        assert (alone.eval()(features, logits) == 900).all()

    def test_mada_sums_over_classes(self) -> None:
        method = prepared(MADA(**RAMP))
        source, target = outputs()
        said = method.discriminators(  # type: ignore[operator]
            torch.cat([source.features, target.features]), torch.cat([source.logits, target.logits])
        )
        plain = sum(log_loss([0] * 5 + [1] * 6, torch.sigmoid(row).detach().numpy()) for row in said)
        assert method.alignment(source, target, batch()).item() == pytest.approx(plain, rel=1e-5)

    @pytest.mark.parametrize("method", [MADA(**RAMP), DAAN(**RAMP, memory=0.0)], ids=["mada", "daan"])
    def test_no_gradient_flows_through_the_predictions(self, method: DeepMethod) -> None:
        source, target = outputs()
        prepared(method).alignment(source, target, batch()).backward()
        assert source.features.grad is not None
        assert source.logits.grad is None
        assert target.logits.grad is None


class TestDAAN:
    def test_dynamic_factor_weighs_distances(self) -> None:
        """Errors of 1/4 overall and 3/8 for each class are distances of 1 and 1/2."""
        overall, local = torch.tensor(log(2) / 2), torch.full((4,), 3 * log(2) / 4)
        assert dynamic_factor(overall, local).item() == pytest.approx(1 / 1.5)
        assert dynamic_factor(torch.tensor(5.0), torch.full((4,), 0.1)).item() == 0
        assert dynamic_factor(torch.tensor(5.0), torch.full((4,), 5.0)).item() == 0.5

    def test_a_class_below_chance_takes_nothing_from_the_others(self) -> None:
        """Distances of 1 overall, of 1 and 0 for the classes: 1 / (1 + 1/2), however far the second is below chance."""
        local = torch.tensor([log(2) / 2, 5.0])
        assert dynamic_factor(torch.tensor(log(2) / 2), local).item() == pytest.approx(1 / 1.5)

    @pytest.mark.parametrize("memory", [0.0, 0.6])
    def test_alignment_lies_between_danns_and_madas_by_the_losses_remembered(self, memory: float) -> None:
        """Before the first step both domains look alike: losses of log 2."""
        method = prepared(DAAN(**RAMP, memory=memory))
        assert isinstance(method, DAAN)
        source, target = outputs()
        loss = method.alignment(source, target, batch()).item()
        features, logits = (torch.cat(pair) for pair in zip(source, target, strict=True))
        overall = domain_loss(method.everywhere(features).squeeze(1), 5)
        local = torch.stack([domain_loss(row, 5) for row in method.classwise(features, logits)])
        remembered = [memory * log(2) + (1 - memory) * seen.detach() for seen in (overall, local)]
        torch.testing.assert_close([method.global_loss, method.local_losses], remembered)
        omega = dynamic_factor(*remembered).item()
        assert loss == pytest.approx(((1 - omega) * overall + omega * local.sum()).item(), rel=1e-5)


class TestWDGRL:
    def test_penalty_is_of_slopes_at_both_domains_and_between_them(self) -> None:
        """Of half the squared norm the slope at a point is the point."""
        source, target = (half.features.detach() for half in outputs(6, 6))
        torch.manual_seed(0)
        found = gradient_penalty(lambda x: x.square().sum(1) / 2, source, target)  # type: ignore[arg-type]
        torch.manual_seed(0)
        points = torch.cat([source, target, torch.lerp(target, source, torch.rand(6, 1))])
        torch.testing.assert_close(found, (points.norm(dim=1) - 1).square().mean())

    def test_the_critic_maximises_the_distance_under_its_penalty_and_the_network_minimises_it(self) -> None:
        method, data = prepared(WDGRL(weight=0.7, penalty=3.0, critic_steps=1, hidden=[6])), batch()
        assert isinstance(method, WDGRL)
        torch.manual_seed(0)
        critic, last = method.objectives(data)
        source, target = method.pair(data)
        distance = method.critic(source.features).mean() - method.critic(target.features).mean()
        torch.manual_seed(0)
        slope = gradient_penalty(method.critic, source.features.detach(), target.features.detach())
        torch.testing.assert_close(critic.loss, 3 * slope - distance)
        torch.testing.assert_close(last.loss, F.cross_entropy(source.logits, data.ys) + 0.7 * distance)

    def test_critic_takes_its_steps_before_the_network_takes_one(self) -> None:
        method = prepared(WDGRL(weight=1.0, penalty=10.0, critic_steps=3, hidden=[6]))
        assert isinstance(method, WDGRL)
        network = state(method.network)
        *critics, last = stepped(method, method.objectives(batch()), lr=0.01)
        assert [objective.train for objective in critics] == [(method.critic,)] * 3
        assert critics[-1].loss < critics[0].loss
        assert last.train == (method.network,)
        assert not same(state(method.network), network)


class TestDomainConfusion:
    def test_fair_coins_cost_least(self) -> None:
        assert indifference(torch.zeros(4)).item() == pytest.approx(log(2))
        said = torch.tensor([0.4, -2.0])
        plain = np.mean([0.5 * binary(s, True).item() + 0.5 * binary(s, False).item() for s in said])
        assert indifference(said).item() == pytest.approx(plain, rel=1e-6)

    def test_steps(self) -> None:
        method, data = prepared(DomainConfusion(weight=0.5, hidden=[6])), batch()
        assert isinstance(method, DomainConfusion)
        telling, confusing = method.objectives(data)
        assert telling.train == (method.discriminator,)
        assert confusing.train == (method.network,)
        source, target = method.pair(data)
        said = method.discriminator(torch.cat([source.features, target.features])).squeeze(1)
        torch.testing.assert_close(telling.loss, domain_loss(said, 6))
        expected = F.cross_entropy(source.logits, data.ys) + 0.5 * indifference(said)
        torch.testing.assert_close(confusing.loss, expected)


class TestCAN:
    SIZES = MappingProxyType({"size": 32, "bottleneck": None, "hidden": [5], "discriminator": [7]})

    def method(self, **changes: Any) -> CAN:
        settings = {
            "weight": 0.8,
            "collaboration": 0.1,
            "gamma": 10.0,
            "hidden": [6],
            "pseudo_after": 1.0,
            "doubt": 0.5,
        }
        method = CAN(**(settings | changes))
        torch.manual_seed(0)
        method.prepare(Network(SVHNNet(**self.SIZES, dropout=0.0), classes=CLASSES))
        return method

    def images(self, progress: float = 0.2) -> Batch:
        xs, xt = torch.randint(0, 256, (2, 6, 32, 32, 3), dtype=torch.uint8)
        return Batch(torch.cat([xs, xt]), torch.arange(6) % CLASSES, torch.arange(6), progress)

    def test_building_it_leaves_the_backbone_as_it_was(self) -> None:
        torch.manual_seed(0)
        network = Network(SVHNNet(**self.SIZES, dropout=0.0), classes=CLASSES)
        network.backbone.convolutions.insert(1, nn.BatchNorm2d(64))  # type: ignore[operator, union-attr]
        before = deepcopy(network.backbone.state_dict())
        method = self.method()
        torch.manual_seed(1)
        method.prepare(network)
        torch.testing.assert_close(network.backbone.state_dict(), before, rtol=0, atol=0)

    def test_blocks_end_at_the_poolings_that_a_convolution_follows(self) -> None:
        """Neither the image, of 32 pixels as the first block, nor what leads to the features is one."""
        method = self.method()
        x = torch.rand(2, 3, 32, 32)
        layers: Any = method.network.backbone.convolutions  # type: ignore[union-attr]
        first = layers[0](x)
        second = layers[3](F.relu(F.max_pool2d(first, 3, 2)))
        method.network.backbone.extract(x)
        for pooled, expected in zip(method.blocks.read(), [first, second], strict=True):
            torch.testing.assert_close(pooled, expected.mean((2, 3)))
        assert method.blocks.read() == []

    @pytest.mark.parametrize(("name", "widths"), [
        ("lenet", [32]), ("caffe_lenet", [20]), ("jdda_lenet", [64]), ("mcd_lenet", [32]), ("svhn_net", [64, 64]),
        ("alexnet", [64, 192]), ("vgg16", [64, 128, 256, 512]), ("googlenet", [64, 192, 480, 832]),
        ("resnet18", [64, 64, 128, 256]), ("resnet50", [64, 256, 512, 1024]),
    ])  # fmt: skip
    def test_every_network_of_images_has_blocks(self, name: str, widths: list[int]) -> None:
        with composer():
            config = compose("config", [f"backbone={name}", "task=O-P"])
        node = OmegaConf.to_container(config.backbone, resolve=True)
        backbone = build(node | ({"weights": "none"} if "weights" in node else {}), "backbone")
        assert Blocks(backbone).widths(backbone.size) == widths

    def test_blocks_and_features_are_drawn_apart(self) -> None:
        """What the blocks give their domain classifiers descends the loss; what the features give climbs it."""
        data = self.images()
        gradients = {}
        for weight, collaboration in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0)):
            method = self.method(weight=weight, collaboration=collaboration)
            (objective,) = method.objectives(data)
            objective.loss.backward()
            first = method.network.backbone.convolutions[0]  # type: ignore[index]
            gradients[weight, collaboration] = first.weight.grad.clone()  # type: ignore[union-attr]
        step = 1e-2
        for (weight, collaboration), name, sign in (
            ((1.0, 0.0), "adversarial", 1),
            ((0.0, 1.0), "collaborative", -1),
        ):
            method = self.method()
            (before,) = method.objectives(data)
            own = gradients[weight, collaboration] - gradients[0.0, 0.0]
            method.network.backbone.convolutions[0].weight.data -= step * own  # type: ignore[index, union-attr]
            (after,) = method.objectives(data)
            assert sign * (after.terms[name] - before.terms[name]).item() > 0

    def test_loss_weighs_each_block_by_its_share(self) -> None:
        method, data = self.method(), self.images()
        method.shares.data = torch.tensor([0.5, -1.0])
        (objective,) = method.objectives(data)
        source, target = method.pair(data)
        told = zip(method.collaborators, method.blocks.read(), strict=True)
        first, second = (domain_loss(collaborator(pooled).squeeze(1), 6) for collaborator, pooled in told)
        share = 1 / (1 + exp(-1.5))
        said = method.discriminator(torch.cat([source.features, target.features])).squeeze(1)
        expected = F.cross_entropy(source.logits, data.ys) + 0.8 * domain_loss(said, 6)
        torch.testing.assert_close(objective.loss, expected + 0.1 * (share * first + (1 - share) * second))

    def test_blocks_learn_as_far_as_the_ramp_goes_and_their_shares_from_the_start(self) -> None:
        data, slopes = self.images(progress=0.0), []
        for collaboration in (0.0, 5.0):
            method: Any = self.method(collaboration=collaboration)
            (objective,) = method.objectives(data)
            first = method.network.backbone.convolutions[0].weight
            slopes.append(torch.autograd.grad(objective.loss, [first, method.shares]))
        torch.testing.assert_close(slopes[0][0], slopes[1][0])
        assert slopes[1][1].abs().sum() > 0

    def test_selected_samples_join_the_cross_entropy(self) -> None:
        method = self.method(pseudo_after=0.0)
        source, target = outputs(6, 6)
        said = torch.tensor([0.0, 5.0, 0.0, 5.0, 0.0, 5.0])
        method.doubt = 0.1
        threshold = 1 / (1 + exp(-2.4 * 0.1 * (source.logits.argmax(1) == self.images().ys).float().mean().item()))
        given = method._classification(source, target, said, self.images())
        terms = [-torch.log_softmax(z, 0)[y].item() for z, y in zip(source.logits, self.images().ys, strict=True)]
        terms += [
            -torch.log_softmax(z, 0).max().item()
            for z, s in zip(target.logits, said, strict=True)
            if s == 0 and torch.softmax(z, 0).max() > threshold
        ]
        assert len(terms) > 6
        assert given.item() == pytest.approx(np.mean(terms), rel=1e-5)

    def test_nothing_is_selected_where_nothing_is_sure(self) -> None:
        assert selected(torch.zeros(4, 3), torch.zeros(4), 0.9, 0.1).sum() == 0


class TestDomainMixup:
    def test_mixture_is_linear_in_the_share(self) -> None:
        source, target = torch.zeros(3, 2, 2), torch.full((3, 2, 2), 8.0)
        expected = torch.tensor([0.0, 2.0, 8.0]).view(3, 1, 1).expand(3, 2, 2)
        torch.testing.assert_close(mixed(source, target, torch.tensor([0.0, 0.25, 1.0])), expected)

    def test_loss_is_the_mean_of_four(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method = prepared(DomainMixup(**RAMP, alpha=2.0))
        method.eval()
        share, drawn = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.2]), []

        def sample(of: Beta, shape: Any) -> Tensor:
            drawn.append((of.concentration0.item(), of.concentration1.item()))
            return share

        monkeypatch.setattr(Beta, "sample", sample)
        data = batch()
        source, target = method.pair(data)
        total = torch.tensor(0.0)
        for i, m in enumerate(share):
            between = method.network(((1 - m) * data.xs[i] + m * data.xt[i]).unsqueeze(0)).features[0]
            inside = (1 - m) * source.features[i] + m * target.features[i]
            for f, label in ((source.features[i], 0), (target.features[i], 1), (between, m), (inside, m)):
                said = method.discriminator(f)  # type: ignore[operator]
                total = total + (label * binary(said, True) + (1 - label) * binary(said, False)).squeeze() / 24
        torch.testing.assert_close(method.alignment(source, target, data), total)
        assert drawn == [(2.0, 2.0)]

    def test_mixtures_leave_no_trace_in_the_statistics_of_the_samples(self) -> None:
        method, data = prepared(DomainMixup(**RAMP, alpha=2.0)), batch()
        before = deepcopy(method.network)
        before(data.x)
        method.alignment(*method.pair(data), data)
        torch.testing.assert_close(method.network.state_dict(), before.state_dict(), rtol=0, atol=0)
        assert all(m.track_running_stats for m in method.modules() if isinstance(m, nn.BatchNorm1d))


@pytest.mark.parametrize("name", NAMES)
def test_trains_under_bfloat16(name: str) -> None:
    with composer():
        config = compose("config", [f"method={name}", "task=O-P", "backbone=pixels"])
    data = easy_shift()
    learner: Any = estimator(config, precision="bf16", steps=6)
    seen: list[torch.dtype] = []
    learner.method = noting(learner.method, seen)
    assert np.isfinite(learner.fit(data.Xs, data.ys, data.Xt).logits(data.Xt)).all()
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in learner.method_.parameters()} == {torch.float32}


def test_a_domain_classifier_drops_its_inputs_and_draws_its_weights_as_told() -> None:
    backbone = Pixels(size=10, bottleneck=300, hidden=[], discriminator=[])
    method = DANN(weight=1.0, gamma=10.0, hidden=[200, 100], dropout=0.5, initial_std=[0.01, 0.3])
    method.prepare(Network(backbone, classes=3))
    linear = [layer for layer in method.discriminator if isinstance(layer, nn.Linear)]
    assert [layer.weight.std().item() for layer in linear] == pytest.approx([0.01, 0.01, 0.3], rel=0.2)
    assert all((layer.bias == 0).all() for layer in linear)
    dropped = (method.discriminator[0](torch.ones(100, 300)) == 0).float().mean().item()
    assert dropped == pytest.approx(0.5, abs=0.02)
    assert [type(layer).__name__ for layer in method.discriminator] == [
        "Dropout", "Linear", "ReLU", "Dropout", "Linear", "ReLU", "Dropout", "Linear",
    ]  # fmt: skip
