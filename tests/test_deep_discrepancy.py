"""Discrepancies of batches against plain loops, and each method's loss against its definition."""

from collections.abc import Callable
from itertools import permutations, product
from math import exp
from typing import Any

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from scipy.optimize import minimize
from torch import Tensor

from tda.backbones.base import Network, Output
from tda.backbones.given import Given
from tda.config import build
from tda.divergences import batch as losses
from tda.divergences import mmd, moments
from tda.learner import Learner
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.cmd import CMD
from tda.methods.deep.da_nn import DaNN
from tda.methods.deep.dan import DAN, kernel_weights
from tda.methods.deep.ddan import DDAN
from tda.methods.deep.ddc import DDC
from tda.methods.deep.deep_coral import DeepCORAL
from tda.methods.deep.deep_jdot import DeepJDOT
from tda.methods.deep.dsan import DSAN
from tda.methods.deep.dtn import DTN
from tda.methods.deep.jan import JAN, Adversary
from tda.methods.deep.mran import MRAN
from tda.methods.deep.rtn import RTN
from tda.methods.deep.swd import SWD
from tda.methods.deep.two_stream import TwoStream
from tda.methods.deep.wdan import WDAN
from tda.methods.shallow.bda import balance
from tda.resources import folder
from tda.trainer import Trainer
from tests.test_methods import easy_shift
from tests.test_trainer import SETTINGS, noting


def pair(ns: int = 7, nt: int = 5, d: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(ns, d, generator=draw), 1.3 * torch.randn(nt, d, generator=draw) + 0.5


def mean_width(Z: Tensor) -> float:
    apart = [float(((a - b) ** 2).sum()) for i, a in enumerate(Z) for j, b in enumerate(Z) if i != j]
    return float(np.mean(apart))


def kernel(width: float, number: int = 5) -> Callable[[Tensor, Tensor], float]:
    exponents = {1: [0], 3: [-1, 0, 1], 5: [-2, -1, 0, 1, 2]}[number]
    return lambda a, b: sum(exp(-float(((a - b) ** 2).sum()) / (width * 2.0**u)) for u in exponents)


def double_sum(k: Callable[[Tensor, Tensor], float], S: Tensor, T: Tensor, ws: Any = None, wt: Any = None) -> float:
    """Distance of weighted means in the kernel's space, term by term."""
    ws = np.full(len(S), 1 / len(S)) if ws is None else ws
    wt = np.full(len(T), 1 / len(T)) if wt is None else wt
    rows = [(float(w), x) for w, x in zip(ws, S, strict=True)] + [(-float(w), x) for w, x in zip(wt, T, strict=True)]
    return sum(v * w * k(a, b) for (v, a), (w, b) in product(rows, rows))


class TestDiscrepancies:
    @pytest.mark.parametrize("number", [1, 3, 5])
    def test_mmd_is_the_double_sum_over_kernels_around_the_mean_distance(self, number: int) -> None:
        S, T = pair()
        expected = double_sum(kernel(mean_width(torch.cat([S, T])), number), S, T)
        assert float(losses.mmd2(S, T, kernels=number)) == pytest.approx(expected, abs=1e-6)

    def test_mmd_with_the_median_width_is_the_numpy_one(self) -> None:
        """There the median kernel is exp(-D / (2 median)), here exp(-D / median)."""
        S, T = pair(8, 6)  # an odd number of pairs has one median
        gamma = 2 * mmd.median_gamma(S.double().numpy(), T.double().numpy())
        expected = mmd.mmd2(S.double().numpy(), T.double().numpy(), gamma=gamma)
        assert float(losses.mmd2(S, T, kernels=1, typical="median")) == pytest.approx(expected, abs=1e-6)

    def test_weights_make_the_sources_mean_a_weighted_one(self) -> None:
        S, T = pair()
        w = torch.tensor([1.0, 2, 0, 3, 1, 1, 4])
        expected = double_sum(kernel(mean_width(torch.cat([S, T]))), S, T, ws=(w / 12).numpy())
        assert float(losses.mmd2(S, T, weights=w)) == pytest.approx(expected, abs=1e-6)
        torch.testing.assert_close(losses.mmd2(S, T, weights=torch.ones(7)), losses.mmd2(S, T))

    def test_no_gradient_flows_through_the_width(self) -> None:
        """Against finite differences of the loss with the width held fixed."""
        S, T = pair()
        S.requires_grad_()
        losses.mmd2(S, T).backward()
        assert S.grad is not None
        k = kernel(mean_width(torch.cat([S.detach(), T])))
        for i, j in product(range(3), range(2)):
            step = torch.zeros_like(S)
            step[i, j] = 1e-3
            slope = (double_sum(k, S.detach() + step, T) - double_sum(k, S.detach() - step, T)) / 2e-3
            assert float(S.grad[i, j]) == pytest.approx(slope, abs=1e-4)

    @pytest.mark.parametrize("typical", ["mean", "median"])
    def test_the_slopes_of_the_fused_sum_are_those_of_the_graph(self, typical: Any) -> None:
        """By the samples of two layers and by weights, against automatic differentiation of the kernels one by one."""
        layers = torch.cat(pair()), 3 * torch.cat(pair(d=5, seed=3))
        W = torch.randn(12, 12, generator=torch.Generator().manual_seed(2))
        slopes = []
        for fused in (True, False):
            w, *Z = leaves = [x.clone().requires_grad_() for x in (W, *layers)]
            both = w + w.T
            if fused:
                found = losses.kernel_sum(both, *Z, kernels=4, typical=typical)
            else:
                K = [losses.mixture(losses.squared_distances(z), 4, typical=typical) for z in Z]
                found = (both * (K[0] + K[1])).sum()
            (3 * found).backward()
            slopes.append((found.detach(), *(leaf.grad for leaf in leaves)))
        for one, other in zip(*slopes, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

    def test_the_slope_of_a_slope_is_refused(self) -> None:
        S, T = pair()
        S.requires_grad_()
        (slope,) = torch.autograd.grad(losses.mmd2(S, T).square(), S, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            slope.sum().backward()

    def test_distances_survive_a_large_offset(self) -> None:
        S, _ = pair()
        torch.testing.assert_close(losses.squared_distances(S + 1000), torch.cdist(S, S) ** 2, atol=1e-2, rtol=1e-3)

    def test_a_product_of_rows_is_the_flattened_tensor_product(self) -> None:
        X, Y = pair(6, 6)
        whole = torch.einsum("id,ic->idc", X, Y).flatten(1)
        torch.testing.assert_close(losses.product_distances(X, Y), torch.cdist(whole, whole) ** 2, atol=1e-4, rtol=1e-4)

    def test_quadruples_average_to_the_linear_time_estimate(self) -> None:
        S, T = pair(7, 6)
        pairs = [(0, 1), (2, 3), (4, 5)]
        met = [
            ((a - b) ** 2).sum() for i, j in pairs for a, b in ((S[i], S[j]), (T[i], T[j]), (S[i], T[j]), (S[j], T[i]))
        ]
        k = kernel(float(np.mean(met)))
        expected = [k(S[i], S[j]) + k(T[i], T[j]) - k(S[i], T[j]) - k(S[j], T[i]) for i, j in pairs]
        np.testing.assert_allclose(losses.quadruples(S, T).sum(0).numpy(), expected, atol=1e-5)

    def test_joint_mmd_multiplies_the_kernels_of_the_layers(self) -> None:
        (S, T), (P, Q) = pair(), (x.softmax(1) for x in pair(seed=1))
        features, outputs = kernel(mean_width(torch.cat([S, T]))), kernel(1.68, 1)
        both_s, both_t = torch.cat([S, P], 1), torch.cat([T, Q], 1)
        expected = double_sum(lambda a, b: features(a[:3], b[:3]) * outputs(a[3:], b[3:]), both_s, both_t)
        found = losses.joint_mmd2([S, P], [T, Q], kernels=[5, 1], widths=[None, 1.68])
        assert float(found) == pytest.approx(expected, abs=1e-6)

    def test_local_mmd_is_the_mean_over_the_classes_met_of_weighted_double_sums(self) -> None:
        S, T = pair()
        ys = torch.tensor([0, 0, 1, 3, 3, 3, 1])
        pt = torch.tensor(
            [[0.7, 0.1, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1], [0.4, 0.3, 0.2, 0.1], [0.1, 0.8, 0.1, 0]]
        )
        k = kernel(mean_width(torch.cat([S, T])))
        values = []
        for c in (0, 1):  # 2 is not in the source, 3 not among the target's most probable classes
            ws = [1 / (ys == c).sum() if y == c else 0 for y in ys]
            values.append(double_sum(k, S, T, ws, pt[:, c] / pt[:, c].sum()))
        assert float(losses.local_mmd2(S, T, ys, pt)) == pytest.approx(np.mean(values), abs=1e-6)

    def test_local_mmd_without_a_common_class_is_zero(self) -> None:
        S, T = pair()
        pt = torch.eye(4)[torch.full((5,), 3)]
        assert float(losses.local_mmd2(S, T, torch.zeros(7, dtype=torch.int64), pt)) == 0

    def test_coral_and_cmd_are_the_numpy_ones(self) -> None:
        S, T = (x.sigmoid() for x in pair())
        for mine, theirs in ((losses.coral, moments.coral_distance), (losses.cmd, moments.cmd)):
            assert float(mine(S, T)) == pytest.approx(theirs(S.numpy(), T.numpy()), rel=1e-4)

    def test_cmd_of_equal_batches_has_a_gradient(self) -> None:
        S, _ = pair()
        S.requires_grad_()
        (gradient,) = torch.autograd.grad(losses.cmd(S, S.detach().clone()), S)
        assert torch.equal(gradient, torch.zeros_like(S))

    def test_sliced_wasserstein_is_that_of_transport_on_the_same_directions(self) -> None:
        S, T = pair(6, 6)
        torch.manual_seed(3)
        found = losses.sliced_wasserstein2(S, T, projections=20)
        torch.manual_seed(3)
        directions = F.normalize(torch.randn(3, 20), dim=0)
        expected = ot.sliced_wasserstein_distance(S.numpy(), T.numpy(), p=2, projections=directions.numpy()) ** 2
        assert float(found) == pytest.approx(float(expected), rel=1e-5)

    def test_autocast_changes_nothing(self) -> None:
        S, T = pair()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = losses.mmd2(S, T), losses.coral(S, T), losses.joint_mmd2([S], [T], kernels=[5], widths=[None])
        outside = losses.mmd2(S, T), losses.coral(S, T), losses.joint_mmd2([S], [T], kernels=[5], widths=[None])
        assert inside == outside


def prepared(method: DeepMethod, classes: int = 4, width: int = 3) -> DeepMethod:
    method.prepare(Network(given(width), classes=classes))
    return method


def outputs(ns: int = 8, nt: int = 8, progress: float = 0.3) -> tuple[Output, Output, Batch]:
    (S, T), (A, B) = pair(ns, nt), pair(ns, nt, d=4, seed=1)
    ys = torch.arange(ns) % 4
    return Output(S, A), Output(T, B), Batch(torch.cat([S, T]), ys, torch.arange(nt), progress)


class TestMethods:
    def test_ddc_is_the_distance_of_means(self) -> None:
        source, target, batch = outputs()
        found = prepared(DDC(weight=0.25)).alignment(source, target, batch)
        expected = ((source.features.mean(0) - target.features.mean(0)) ** 2).sum()
        torch.testing.assert_close(found, expected)

    def test_dan_sums_over_its_layers(self) -> None:
        source, target, batch = outputs()
        settings: dict[str, Any] = {"weight": 1.0, "kernels": 5, "layers": ["features", "logits"]}
        found = prepared(DAN(**settings, estimate="quadratic", learned_weights=False)).alignment(source, target, batch)
        plain = [double_sum(kernel(mean_width(torch.cat([s, t]))), s, t) for s, t in zip(source, target, strict=True)]
        assert float(found) == pytest.approx(sum(plain), abs=1e-5)
        linear = prepared(DAN(**settings, estimate="linear", learned_weights=False)).alignment(source, target, batch)
        halves = [losses.quadruples(s, t).sum(0).mean() for s, t in zip(source, target, strict=True)]
        torch.testing.assert_close(linear, halves[0] + halves[1])

    def test_dan_in_one_piece_is_dan_of_two_halves(self) -> None:
        *_, batch = outputs()
        settings: dict[str, Any] = {"kernels": 5, "layers": ["features", "logits"], "estimate": "quadratic"}
        method = prepared(DAN(weight=0.3, **settings, learned_weights=False))
        (whole,) = method.objectives(batch)
        source, target = method.pair(batch)
        plain = F.cross_entropy(source.logits, batch.ys) + 0.3 * method.alignment(source, target, batch)
        torch.testing.assert_close(whole.loss, plain)
        slopes = (torch.autograd.grad(loss, [*method.parameters()]) for loss in (whole.loss, plain))
        torch.testing.assert_close(*slopes)

    def test_kernel_weights_solve_the_quadratic_programme(self) -> None:
        """Against scipy's general solver; and a kernel that only costs variance gets no weight."""
        draw = np.random.default_rng(0)
        root = draw.standard_normal((5, 9))
        d, Q = draw.uniform(0.1, 1, 5), root @ root.T / 9
        beta = kernel_weights(d, Q)
        solved = minimize(
            lambda b: b @ Q @ b,
            np.ones(5) / d.sum(),
            bounds=[(0, None)] * 5,
            constraints={"type": "eq", "fun": lambda b: d @ b - 1},
            options={"ftol": 1e-14},
        ).x
        np.testing.assert_allclose(beta / (d @ beta), solved, atol=1e-3)
        assert beta.sum() == pytest.approx(5)
        np.testing.assert_array_equal(kernel_weights(-d, Q), np.ones(5))
        np.testing.assert_array_equal(kernel_weights(np.full(5, np.nan), Q), np.ones(5))
        assert kernel_weights(np.array([1.0, 1e-9]), np.diag([1.0, 5.0]))[1] == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize(("pairs", "apart"), [(2, 1.0), (18, 100.0)])
    def test_weights_are_learned_where_the_estimates_hardly_vary(self, pairs: int, apart: float) -> None:
        """Their variance is the difference of sums in single precision, and less than its rounding."""
        method = prepared(DAN(weight=1.0, kernels=5, layers=["features"], estimate="quadratic", learned_weights=True))
        for seed in range(20):
            S, T = pair(2 * pairs, 2 * pairs, seed=seed)
            assert method.alignment(Output(S, S), Output(T + apart, T + apart), outputs()[2]).isfinite()

    @pytest.mark.parametrize("estimate", ["linear", "quadratic"])
    def test_learned_weights_are_those_of_the_statistics_seen(self, estimate: Any) -> None:
        method = prepared(DAN(weight=1.0, kernels=3, layers=["features"], estimate=estimate, learned_weights=True))
        seen = []
        for seed in (0, 1, 2):
            S, T = pair(8, 8, seed=seed)
            T = T + 1
            seen.append(losses.quadruples(S, T, 3).double().numpy())
            found = method.alignment(Output(S, S), Output(T, T), outputs()[2])
        h = np.concatenate(seen, axis=1)
        beta = kernel_weights(h.mean(1), np.cov(h, bias=True))
        assert beta.max() > 1.5
        width = mean_width(torch.cat([S, T]))
        each = [double_sum(kernel(width * 2.0**u, 1), S, T) for u in (1, 0, -1)]
        plain = np.array(each) if estimate == "quadratic" else seen[-1].mean(1)
        assert float(found) == pytest.approx(float(plain @ beta), rel=1e-3)

    def test_statistics_are_averaged_over_the_last_hundred_steps_or_so(self) -> None:
        source, target, batch = outputs()
        method = DAN(weight=1.0, kernels=3, layers=["features"], estimate="linear", learned_weights=True)
        prepared(method)
        method.steps = 1000
        method.alignment(source, target, batch)
        h = losses.quadruples(source.features, target.features, 3)
        torch.testing.assert_close(method.moments[0, 0], 0.01 * h.mean(1))

    def test_deep_coral_reads_the_layer_that_it_is_told(self) -> None:
        source, target, batch = outputs()
        for layer, (s, t) in (
            ("features", (source.features, target.features)),
            ("logits", (source.logits, target.logits)),
        ):
            found = DeepCORAL(weight=1.0, layer=layer).alignment(source, target, batch)  # type: ignore[arg-type]
            assert float(found) == pytest.approx(moments.coral_distance(s.numpy(), t.numpy()), rel=1e-5)

    def test_cmd_squashes_first(self) -> None:
        source, target, batch = outputs()
        found = CMD(weight=1.0, order=3).alignment(source, target, batch)
        expected = moments.cmd(np.tanh(source.features.numpy()), np.tanh(target.features.numpy()), order=3)
        assert float(found) == pytest.approx(expected, rel=1e-5)

    def test_jan_is_the_ramped_joint_mmd_and_dsan_the_ramped_local_one(self) -> None:
        source, target, batch = outputs()
        height = 2 / (1 + exp(-10 * 0.3)) - 1
        p, q = source.logits.softmax(1), target.logits.softmax(1)
        method = JAN(weight=1.0, gamma=10.0, kernels=5, output_width=1.68, adversarial=False)
        joint = losses.joint_mmd2([source.features, p], [target.features, q], kernels=[5, 1], widths=[None, 1.68])
        torch.testing.assert_close(prepared(method).alignment(source, target, batch), height * joint)
        local = DSAN(weight=0.5, gamma=10.0, kernels=5).alignment(source, target, batch)
        torch.testing.assert_close(local, height * losses.local_mmd2(*source[:1], target.features, batch.ys, q))

    def test_jan_a_aligns_what_its_layers_make_of_features_and_predictions(self) -> None:
        source, target, batch = outputs()
        method = JAN(weight=1.0, gamma=10.0, kernels=5, output_width=1.68, adversarial=True)
        prepared(method)
        one, other = method.theta
        seen = [[one(o.features), other(o.logits.softmax(1))] for o in (source, target)]
        joint = losses.joint_mmd2(*seen, kernels=[5, 1], widths=[None, 1.68])
        height = 2 / (1 + exp(-10 * 0.3)) - 1
        torch.testing.assert_close(method.alignment(source, target, batch), height * joint)

    def test_jan_a_starts_as_jan(self) -> None:
        found = []
        for adversarial in (False, True):
            method = JAN(weight=1.0, gamma=10.0, kernels=5, output_width=1.68, adversarial=adversarial)
            found.append(prepared(method).alignment(*outputs()))
        torch.testing.assert_close(*found)

    def test_no_gradient_flows_through_the_pseudo_labels_of_dsan(self) -> None:
        source, target, batch = outputs()
        target.logits.requires_grad_()
        target.features.requires_grad_()
        DSAN(weight=0.5, gamma=10.0, kernels=5).alignment(source, target, batch).backward()
        assert target.logits.grad is None
        assert target.features.grad is not None

    def test_the_layers_of_jan_a_ascend_what_the_network_descends(self) -> None:
        x = torch.randn(4, 3, requires_grad=True)
        layer = Adversary(3, 2)
        value = layer(x).square().sum()
        ours = torch.autograd.grad(value, [x, layer.weight, layer.bias])
        plain = torch.autograd.grad(F.linear(x, layer.weight, layer.bias).square().sum(), [x, layer.weight, layer.bias])
        torch.testing.assert_close(ours[0], plain[0])
        torch.testing.assert_close(ours[1], -plain[1])
        torch.testing.assert_close(ours[2], -plain[2])


class TestLaterMethods:
    def test_da_nn_has_one_kernel_of_the_median_distance(self) -> None:
        source, target, batch = outputs(8, 6)
        gamma = 2 * mmd.median_gamma(source.features.double().numpy(), target.features.double().numpy())
        expected = mmd.mmd2(source.features.double().numpy(), target.features.double().numpy(), gamma=gamma)
        found = DaNN(weight=1.0).alignment(source, target, batch)
        assert float(found) == pytest.approx(expected, abs=1e-6)

    def test_wdan_weighs_the_source_by_the_ratio_of_the_class_priors(self) -> None:
        """The target's counts the last word on each sample."""
        source, target, _ = outputs()
        ys = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3])
        method = prepared(WDAN(weight=1.0, pseudo=0.5, kernels=5))
        method.begin(source.features, ys, torch.zeros(10, 3))
        guesses = np.full((10, 4), 0.25)  # sample 8 is in no batch
        for logits, it in ((-target.logits, [5, 3, 0, 9, 1, 2, 7, 4]), (target.logits, [9, 1, 2, 0, 4, 5, 6, 7])):
            now = Batch(torch.cat([source.features, target.features]), ys, torch.tensor(it), 0.0)
            found = method.alignment(source, Output(target.features, logits), now)
            said = logits.argmax(1)
            guesses[it] = np.eye(4)[said]
        prior = guesses.mean(0)
        weights = np.array([prior[y] / (float((ys == y).sum()) / 8) for y in ys])
        k = kernel(mean_width(torch.cat([source.features, target.features])))
        expected = double_sum(k, source.features, target.features, ws=weights / weights.sum())
        assert float(found) == pytest.approx(expected, rel=1e-4)

    def test_wdan_weighs_its_pseudo_labels_apart_from_the_mmd(self) -> None:
        method = WDAN(weight=0.3, pseudo=0.5, kernels=5)
        method.prepare(Network(given(3), classes=4))
        *_, batch = outputs()
        method.begin(batch.xs, batch.ys, batch.xt)
        (step,) = method.objectives(batch)
        source, target = method.pair(batch)
        doubt = -target.logits.log_softmax(1).amax(1).mean()
        expected = F.cross_entropy(source.logits, batch.ys) + 0.5 * doubt
        torch.testing.assert_close(step.loss, expected + 0.3 * method.alignment(source, target, batch))

    def test_rtn_fuses_features_and_predictions(self) -> None:
        source, target, batch = outputs()
        found = RTN(weight=0.3, entropy=0.3, kernels=5, hidden=None).alignment(source, target, batch)
        S, T = (torch.einsum("id,ic->idc", o.features, o.logits.softmax(1)).flatten(1) for o in (source, target))
        assert float(found) == pytest.approx(double_sum(kernel(mean_width(torch.cat([S, T]))), S, T), abs=1e-5)

    def test_rtn_classifies_the_source_with_the_residual_and_the_target_without(self) -> None:
        """By value and by slope of the classifier that both have."""
        method = RTN(weight=0.7, entropy=0.5, kernels=5, hidden=None)
        _, _, batch = outputs()
        prepared(method)
        torch.nn.init.normal_(method.residual[-1].weight)
        (objective,) = method.objectives(batch)
        source, target = method.network(batch.xs), method.network(batch.xt)
        p = target.logits.softmax(1)
        expected = F.cross_entropy(source.logits + method.residual(source.logits), batch.ys)
        expected = expected - 0.5 * (p * p.log()).sum(1).mean() + 0.7 * method.alignment(source, target, batch)
        torch.testing.assert_close(objective.loss, expected)
        shared = method.network.head[-1].weight
        slopes, plain = (torch.autograd.grad(loss, shared) for loss in (objective.loss, expected))
        torch.testing.assert_close(slopes, plain)
        torch.testing.assert_close(method.classify(batch.xt), target.logits)

    def test_dtn_sums_over_the_classes_that_both_have(self) -> None:
        source, target, batch = outputs()
        method = prepared(DTN(weight=1.0, conditional=2.0))
        qs, qt = source.logits.softmax(1), target.logits.softmax(1)
        said = qt.argmax(1)
        expected = ((source.features.mean(0) - target.features.mean(0)) ** 2).sum()
        for c in set(said.tolist()) & set(batch.ys.tolist()):
            expected = expected + 2 * ((qs[batch.ys == c].mean(0) - qt[said == c].mean(0)) ** 2).sum()
        torch.testing.assert_close(method.alignment(source, target, batch), expected)

    @pytest.mark.parametrize(("alpha", "label_weight"), [(0.3, 0.7), (0.001, 1.0)])
    def test_deep_jdot_pays_the_cheapest_of_all_assignments(self, alpha: float, label_weight: float) -> None:
        """Between uniform batches of one size the best plan is a permutation."""
        source, target, batch = outputs(5, 5)
        batch = batch._replace(ys=torch.arange(5) % 4)
        logs = target.logits.log_softmax(1)
        cost = [[alpha * ((s - t) ** 2).sum() - label_weight * logs[j, y] for j, t in enumerate(target.features)]
                for s, y in zip(source.features, batch.ys, strict=True)]  # fmt: skip
        best = min(sum(cost[i][j] for i, j in enumerate(order)) for order in permutations(range(5)))
        found = DeepJDOT(weight=1.0, alpha=alpha, label_weight=label_weight).alignment(source, target, batch)
        assert float(found) == pytest.approx(float(best) / 5, rel=1e-4)

    def test_swd_takes_three_kinds_of_steps_with_its_own_distance(self) -> None:
        method = SWD(weight=1.0, generator_steps=2, hidden=[6], projections=16)
        network = Network(given(3, bottleneck=5), classes=4)
        method.prepare(network)
        _, _, batch = outputs()
        steps = [*method.objectives(batch)]
        assert [{id(m) for m in step.train} for step in steps] == [
            {id(method)},
            {id(network.head), id(method.second)},
            *[{id(network.backbone), id(network.bottleneck)}] * 2,
        ]
        features = method.pair(batch)[1].features
        torch.manual_seed(5)
        found = method._discrepancy(features)
        torch.manual_seed(5)
        one, other = (head(features).softmax(1) for head in (network.head, method.second))
        torch.testing.assert_close(found, losses.sliced_wasserstein2(one, other, projections=16))

    def test_two_streams_start_alike_and_are_held_together(self) -> None:
        method = TwoStream(weight=1.0, relation=1.0, kernels=5)
        method.prepare(Network(given(3, bottleneck=5), classes=4))
        _, _, batch = outputs()
        assert method.relatedness().item() == pytest.approx(0, abs=1e-9)
        torch.testing.assert_close(method.pair(batch)[1].logits, method.network(batch.xt).logits)
        with torch.no_grad():
            for parameter in method.target.parameters():
                parameter.mul_(-2).add_(0.3)
        assert method.relatedness().item() == pytest.approx(0, abs=1e-6)

    def test_two_streams_sum_three_losses_and_the_targets_is_scored(self) -> None:
        method = TwoStream(weight=0.7, relation=0.3, kernels=5)
        method.prepare(Network(given(3, bottleneck=5), classes=4))
        _, _, batch = outputs()
        draw = torch.Generator().manual_seed(0)
        for parameter in method.target.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
        (step,) = method.objectives(batch)
        source, target = method.pair(batch)
        expected = F.cross_entropy(source.logits, batch.ys) + 0.7 * losses.mmd2(source.features, target.features)
        torch.testing.assert_close(step.loss, expected + 0.3 * method.relatedness())
        torch.testing.assert_close(method.classify(batch.xt), target.logits)

    def test_the_targets_biases_follow_the_sources(self) -> None:
        method = TwoStream(weight=0.0, relation=1.0, kernels=5)
        method.prepare(Network(given(3, bottleneck=5), classes=4))
        with torch.no_grad():
            method.network.head[0].bias.add_(torch.tensor([1.0, -1.0, 0.5, 0.0]))
        (step,) = method.objectives(outputs()[2])
        (slope,) = torch.autograd.grad(step.loss, [method.target[1][0].bias])
        assert slope.abs().max() > 0.01

    def test_two_streams_share_one_pass_through_the_backbone(self) -> None:
        method = TwoStream(weight=1.0, relation=1.0, kernels=5)
        method.prepare(Network(given(3, bottleneck=5), classes=4))
        passed: list[int] = []
        method.network.backbone.register_forward_hook(lambda layer, x, made: passed.append(len(made)))
        method.pair(outputs(ns=8, nt=6)[2])
        assert passed == [14]

    def test_the_residual_of_rtn_starts_at_nought(self) -> None:
        method = RTN(weight=0.0, entropy=0.0, kernels=5, hidden=None)
        method.prepare(Network(given(3), classes=4))
        _, _, batch = outputs()
        (step,) = method.objectives(batch)
        expected = F.cross_entropy(method.network(batch.xs).logits, batch.ys)
        torch.testing.assert_close(step.loss, expected)

    def test_each_domain_is_described_by_its_own_stream(self) -> None:
        method = TwoStream(weight=1.0, relation=1.0, kernels=5)
        method.prepare(Network(given(3, bottleneck=5), classes=4))
        _, _, batch = outputs()
        with torch.no_grad():
            for parameter in method.target.parameters():
                parameter.mul_(-2).add_(0.3)
        source, target = method.pair(batch)
        torch.testing.assert_close(method.embed(batch.xs, "source"), source.features)
        torch.testing.assert_close(method.embed(batch.xt, "target"), target.features)

    @pytest.mark.parametrize("size", [0.01, 10.0])
    def test_the_relation_is_the_exponential_of_what_regression_leaves(self, size: float) -> None:
        method = TwoStream(weight=1.0, relation=1.0, kernels=5)
        method.prepare(Network(given(3), classes=4))  # the head alone
        with torch.no_grad():
            method.target[1][0].weight.add_(size * torch.randn(4, 3))
            method.target[1][0].bias.add_(size * torch.randn(4))
        held, moved = (
            np.concatenate([p.detach().double().numpy().ravel() for p in (head[0].weight, head[0].bias)])
            for head in (method.network.head, method.target[1])
        )
        design = np.stack([held, np.ones(16)], 1)
        gap = np.linalg.lstsq(design, moved)[1][0]
        expected = np.expm1(gap) if gap <= 1 else np.expm1(1) + np.e * (gap - 1)
        assert method.relatedness().item() == pytest.approx(expected, rel=1e-4)

    def test_mran_aligns_each_representation(self) -> None:
        method = MRAN(weight=0.3, gamma=10.0, branches=3, kernels=5)
        method.prepare(Network(given(3, bottleneck=4), classes=4))
        assert method.network.width == 12
        branches = method.network.bottleneck.branches
        assert [sum(isinstance(m, torch.nn.Linear) for m in branch.modules()) for branch in branches] == [1, 2, 3]
        (source, target), batch = method.pair(outputs()[2]), outputs()[2]
        guessed = torch.eye(4)[target.logits.argmax(1)]
        parts = [
            losses.local_mmd2(source.features[:, at : at + 4], target.features[:, at : at + 4], batch.ys, guessed)
            for at in (0, 4, 8)
        ]
        height = 2 / (1 + exp(-10 * 0.3)) - 1
        torch.testing.assert_close(method.alignment(source, target, batch), height * sum(parts))

    def test_ddan_weighs_both_distances(self) -> None:
        source, target, batch = outputs()
        guessed = target.logits.argmax(1)
        marginal = losses.mmd2(source.features, target.features)
        conditional = losses.local_mmd2(source.features, target.features, batch.ys, torch.eye(4)[guessed])
        for mu in (0.0, 0.3, 1.0):
            found = prepared(DDAN(weight=1.0, mu=mu, every=2, kernels=5)).alignment(source, target, batch)
            torch.testing.assert_close(found, (1 - mu) * marginal + mu * conditional)

    def test_ddan_estimates_the_weight_on_the_batches_since_the_last_estimate(self) -> None:
        batches, ys = [], torch.arange(40) % 4
        for seed in range(4):
            (S, T), (A, B) = pair(40, 40, seed=seed), pair(40, 40, d=4, seed=seed + 4)
            batches.append(
                (Output(S + ys[:, None], A), Output(T, B), Batch(torch.cat([S, T]), ys, torch.arange(40), 0.0))
            )

        def estimate(one: Any, other: Any) -> float:
            seen = [(source.features, target.features, batch.ys, target.logits.argmax(1))
                    for source, target, batch in (one, other)]  # fmt: skip
            Xs, Xt, classes, guesses = (torch.cat(part).numpy() for part in zip(*seen, strict=True))
            return balance(np.concatenate([Xs, Xt]), classes, guesses)

        first, second = estimate(*batches[:2]), estimate(*batches[2:])
        method = prepared(DDAN(weight=1.0, mu=None, every=2, kernels=5))
        for batch, mu in zip(batches, (0.5, first, first, second), strict=True):
            expected = prepared(DDAN(weight=1.0, mu=mu, every=2, kernels=5)).alignment(*batch)
            torch.testing.assert_close(method.alignment(*batch), expected)
        assert len({0.5, first, second}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "ddc",
        "dan",
        "dan_linear",
        "dan_learned",
        "deep_coral",
        "jan",
        "jan_a",
        "dsan",
        "cmd",
        "adabn",
        "dsbn",
        "transnorm",
        "autodial",
        "wdan",
        "rtn",
        "dtn",
        "deep_jdot",
        "swd",
        "da_nn",
        "two_stream",
        "mran",
        "ddan",
    ],
)
def test_bf16_trains_float32_weights(name: str) -> None:
    written = OmegaConf.load(folder("conf") / "method" / f"{name}.yaml")
    own = OmegaConf.masked_copy(written, [key for key in written if key != "defaults"])
    data = easy_shift()
    seen: list[torch.dtype] = []
    trained = Learner(
        method=noting(lambda: build(own, "method"), seen),
        trainer=Trainer(**(SETTINGS | {"precision": "bf16", "steps": 4})),
        backbone=lambda: given(40, bottleneck=8),
        device="cpu",
    ).fit(data.Xs, data.ys, data.Xt)
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in trained.method_.parameters()} == {torch.float32}
    assert np.isfinite(trained.logits(data.Xt)).all()


def given(width: int, bottleneck: int | None = None) -> Given:
    torch.manual_seed(0)
    features = Given(bottleneck=bottleneck, hidden=[], discriminator=[6])
    features.width = width
    return features
