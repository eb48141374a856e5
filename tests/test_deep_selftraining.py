"""Self-training and regularisers against plain formulas, sample by sample and class by class."""

from copy import deepcopy
from functools import partial
from math import exp, log
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hydra import compose
from omegaconf import OmegaConf
from torch import Tensor, nn

from tda.augment import Affine
from tda.backbones.base import Network
from tda.backbones.given import Given
from tda.backbones.pixels import Pixels
from tda.config import build
from tda.divergences.batch import mmd2
from tda.learner import Learner
from tda.methods.deep.afn import AFN
from tda.methods.deep.base import Batch, DeepMethod
from tda.methods.deep.bnm import batch_nuclear_norm
from tda.methods.deep.coral_entropy import CoralEntropy
from tda.methods.deep.distillation import Distillation, soft_cross_entropy
from tda.methods.deep.entropy_minimisation import EntropyMinimisation, entropies
from tda.methods.deep.fixmatch import FixMatch
from tda.methods.deep.l2m import L2M
from tda.methods.deep.mcc import class_confusion
from tda.methods.deep.mean_teacher import MeanTeacher, self_ensembling
from tda.methods.deep.perturbation import Perturbation
from tda.methods.deep.pseudo_label import PseudoLabel, linear_ramp, self_training
from tda.methods.deep.shot import SHOT, centroid_labels, information
from tests.test_trainer import noting

CLASSES = 4


def logits(n: int = 9, seed: int = 0) -> Tensor:
    return 2 * torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(seed))


def softmax(row: np.ndarray) -> np.ndarray:
    powers = np.array([exp(z) for z in row])
    return powers / powers.sum()


def probabilities(z: Tensor, temperature: float = 1.0) -> np.ndarray:
    return np.array([softmax(row / temperature) for row in z.double().numpy()])


def entropy(p: np.ndarray) -> float:
    return -sum(share * log(share) for share in p if share > 0)


def network(width: int = 5, bottleneck: int | None = 3) -> Network:
    backbone = Given.instead_of(Pixels(size=16, bottleneck=bottleneck, hidden=[], discriminator=[7]), width)
    return Network(backbone, classes=CLASSES)


def prepared(method: DeepMethod, **sizes: Any) -> DeepMethod:
    torch.manual_seed(0)
    method.prepare(network(**sizes))
    return method


def batch(n: int = 6, progress: float = 0.0) -> Batch:
    draw = torch.Generator().manual_seed(4)
    xs, xt = torch.randn(n, 5, generator=draw), torch.randn(n, 5, generator=draw) + 1
    return Batch(torch.cat([xs, xt]), torch.arange(n) % CLASSES, torch.arange(n), progress)


def test_entropies_are_those_of_each_sample() -> None:
    plain = [entropy(p) for p in probabilities(logits())]
    np.testing.assert_allclose(entropies(logits()).numpy(), plain, rtol=1e-5)


def test_entropies_of_certain_predictions_are_zero_with_finite_gradients() -> None:
    z = torch.tensor([[500.0, -500.0]], requires_grad=True)
    entropies(z).sum().backward()
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_entropy_minimisation_adds_the_weighted_entropy_of_the_target() -> None:
    method, given = prepared(EntropyMinimisation(weight=0.3)).eval(), batch()
    (objective,) = method.objectives(given)
    p, q = (probabilities(method.classify(x).detach()) for x in (given.xs, given.xt))
    plain = np.mean([-log(p[i, y]) for i, y in enumerate(given.ys)]) + 0.3 * np.mean([entropy(r) for r in q])
    assert objective.loss.item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_class_confusion_is_the_papers_equations_written_out(temperature: float) -> None:
    p = probabilities(logits(), temperature)
    raw = [1 + exp(-entropy(row)) for row in p]
    weights = [len(p) * w / sum(raw) for w in raw]
    total = 0.0
    for j in range(CLASSES):
        row = [sum(w * r[j] * r[k] for w, r in zip(weights, p, strict=True)) for k in range(CLASSES)]
        total += sum(abs(c) / sum(row) for k, c in enumerate(row) if k != j)
    assert class_confusion(logits(), temperature).item() == pytest.approx(total / CLASSES, rel=1e-5)


def test_class_confusion_of_classes_that_nothing_is_of_is_a_number() -> None:
    certain = torch.tensor([[300.0, 0.0, 0.0]] * 8, requires_grad=True)
    confusion = class_confusion(certain, 2.5)
    confusion.backward()
    assert confusion.isfinite()
    assert certain.grad is not None
    assert certain.grad.isfinite().all()


def test_the_certainty_weights_of_mcc_carry_no_gradient() -> None:
    z = logits().requires_grad_()
    class_confusion(z, 2.5).backward()
    p = (z.detach() / 2.5).softmax(1)
    weights = 1 + torch.exp((p * p.log()).sum(1))
    free = z.detach().requires_grad_()
    q = (free / 2.5).softmax(1)
    confusion = q.T @ torch.diag(weights / weights.mean()) @ q
    shares = confusion / confusion.sum(1, keepdim=True)
    ((shares.sum() - shares.trace()) / CLASSES).backward()
    torch.testing.assert_close(z.grad, free.grad)


def test_nuclear_norm_is_the_sum_of_singular_values() -> None:
    p = probabilities(logits())
    plain = np.sqrt(np.clip(np.linalg.eigvalsh(p.T @ p), 0, None)).sum() / len(p)
    assert batch_nuclear_norm(logits()).item() == pytest.approx(plain, rel=1e-5)


def test_nuclear_norm_of_equal_predictions_has_a_finite_gradient() -> None:
    z = torch.zeros(5, CLASSES, requires_grad=True)
    batch_nuclear_norm(z).backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nuclear_norm_of_logits_that_are_no_numbers_is_none(value: float) -> None:
    z = logits()
    z[0, 0] = value
    assert not batch_nuclear_norm(z).isfinite()


class TestAFN:
    def made(self, **changes: Any) -> AFN:
        return AFN(**({"weight": 0.05, "radius": None, "step": 1.0, "entropy": 0.0} | changes))

    def test_hard_norm_is_the_squared_distance_of_the_mean_norm_from_the_radius(self) -> None:
        features = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
        assert self.made(radius=25.0).distance(features).item() == pytest.approx((3 - 25) ** 2)

    def test_stepwise_norm_is_the_squared_step_and_pulls_each_feature_outwards(self) -> None:
        features = torch.tensor([[3.0, 4.0], [0.0, 2.0]], requires_grad=True)
        loss = self.made(step=1.5).distance(features)
        loss.backward()
        assert loss.item() == pytest.approx(1.5**2)
        torch.testing.assert_close(features.grad, -2 * 1.5 / 2 * torch.tensor([[0.6, 0.8], [0.0, 1.0]]))

    def test_loss_is_the_sum_of_its_terms(self) -> None:
        method, given = prepared(self.made(radius=4.0, entropy=0.1)).eval(), batch()
        (objective,) = method.objectives(given)
        with torch.no_grad():
            source, target = (method.network(x) for x in (given.xs, given.xt))
        plain = np.mean([-log(p[y]) for p, y in zip(probabilities(source.logits), given.ys.tolist(), strict=True)])
        for features in (source.features, target.features):
            plain += 0.05 * (np.mean([np.sqrt((f**2).sum()) for f in features.numpy()]) - 4) ** 2
        plain += 0.1 * np.mean([entropy(p) for p in probabilities(target.logits)])
        assert objective.loss.item() == pytest.approx(plain, rel=1e-5)


class TestSHOT:
    def made(self, **changes: Any) -> SHOT:
        method = SHOT(**({"weight": 0.3, "smoothing": 0.1, "share": 0.5, "rounds": 4} | changes))
        prepared(method, bottleneck=8)
        return method

    def test_first_phase_is_cross_entropy_with_smoothed_labels_of_the_source_alone(self) -> None:
        method, given = self.made().eval(), batch()
        (objective,) = method.objectives(given._replace(x=torch.cat([given.xs, torch.full_like(given.xt, torch.nan)])))
        p = probabilities(method.classify(given.xs).detach())
        plain = 0.0
        for row, y in zip(p, given.ys.tolist(), strict=True):
            wanted = [0.1 / CLASSES + 0.9 * (c == y) for c in range(CLASSES)]
            plain -= sum(q * log(s) for q, s in zip(wanted, row, strict=True)) / len(p)
        assert objective.loss.item() == pytest.approx(plain, rel=1e-5)

    def test_second_phase_does_not_touch_the_source_and_trains_only_below_the_head(self) -> None:
        method, given = self.made(), batch(progress=0.5)
        method.begin(given.xs, given.ys, given.xt)
        poisoned = given._replace(
            x=torch.cat([torch.full_like(given.xs, torch.nan), given.xt]), ys=torch.full_like(given.ys, -1)
        )
        (objective,) = method.objectives(poisoned)
        assert torch.isfinite(objective.loss)
        trained = {id(p) for module in objective.train for p in module.parameters()}
        assert trained == {id(p) for p in method.network.bottleneck.parameters()}
        assert not trained & {id(p) for p in method.network.head.parameters()}

    def test_second_phase_leaves_the_head_as_the_source_had_it(self) -> None:
        method, given = self.made(), batch(progress=0.6)
        norm = nn.BatchNorm1d(8)
        method.network.head.insert(0, norm)
        method.network.head.insert(1, nn.Dropout(0.5))
        method.begin(given.xs, given.ys, given.xt)
        (one,), (other,) = (list(method.train().objectives(given)) for _ in range(2))
        torch.testing.assert_close(one.loss, other.loss)
        assert norm.num_batches_tracked == 0

    def test_second_phase_is_entropy_less_diversity_plus_pseudo_labels(self) -> None:
        """Those are of the whole target, in evaluation mode; the batch is some of it, in another order."""
        method, given = self.made(), batch(n=40, progress=0.7)
        it = torch.randperm(40, generator=torch.Generator().manual_seed(0))[:25]
        method.begin(given.xs, given.ys, given.xt)
        said = [method.train(mode).network(given.xt) for mode in (True, False)]
        labels = [centroid_labels(o.features.detach(), o.logits.detach()) for o in said]
        assert not torch.equal(labels[0], labels[1])
        (objective,) = method.train().objectives(given._replace(x=torch.cat([given.xs, given.xt[it]]), it=it))
        p = probabilities(method.train().network(given.xt[it]).logits.detach())
        plain = np.mean([entropy(r) for r in p]) - entropy(p.mean(0))
        plain += 0.3 * cross_entropy(p, labels[1][it])
        assert objective.loss.item() == pytest.approx(plain, rel=1e-4)

    def test_pseudo_labels_are_made_at_equal_intervals(self, monkeypatch: pytest.MonkeyPatch) -> None:
        method, given = self.made(rounds=4), batch()
        method.begin(given.xs, given.ys, given.xt)
        seen: list[float] = []
        make = method._pseudo_labels
        for progress in np.arange(0.5, 1, 0.01):
            monkeypatch.setattr(method, "_pseudo_labels", lambda at=progress: seen.append(at) or make())
            list(method.objectives(given._replace(progress=float(progress))))
        np.testing.assert_allclose(seen, [0.5, 0.63, 0.75, 0.88], atol=0.011)

    def test_pseudo_labels_are_made_in_the_precision_of_scoring(self) -> None:
        method, given = self.made(), batch()
        method.begin(given.xs, given.ys, given.xt)
        seen: list[torch.dtype] = []
        method.network.head.register_forward_hook(lambda head, x, y: seen.append(y.dtype))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            method._pseudo_labels()
        assert seen == [torch.float32]

    def test_the_classifiers_rows_are_directions_and_lengths(self) -> None:
        last = self.made().network.head[-1]
        length, direction = (p.detach() for p in last.parametrizations.weight.parameters())
        torch.testing.assert_close(last.weight, length * direction / direction.norm(dim=1, keepdim=True))

    def test_information_is_entropy_of_the_mean_less_mean_entropy(self) -> None:
        p = probabilities(logits())
        plain = entropy(p.mean(0)) - np.mean([entropy(row) for row in p])
        assert information(logits()).item() == pytest.approx(plain, rel=1e-5)

    def test_a_class_that_no_sample_can_be_of_leaves_the_gradient_finite(self) -> None:
        given = torch.tensor([[200.0, 0.0, 1.0], [200.0, 1.0, 0.0]], requires_grad=True)
        information(given).backward()
        assert given.grad is not None
        assert given.grad.isfinite().all()

    def test_centroid_labels_are_the_papers_equations_written_out(self) -> None:
        z = logits(20, seed=2)
        z[:, 3] = -9  # a class that nothing is predicted as
        features = torch.randn(20, 6, generator=torch.Generator().manual_seed(3)).double().numpy()
        points = np.array([np.append(f, 1) / np.sqrt(f @ f + 1) for f in features])
        weights = probabilities(z)
        assigned = weights.argmax(1)
        for _ in range(2):
            present = sorted(set(assigned))
            centroids = {c: sum(w[c] * x for w, x in zip(weights, points, strict=True)) for c in present}
            cosine = [[x @ centroids[c] / np.linalg.norm(centroids[c]) for c in present] for x in points]
            assigned = np.array(present)[np.argmax(cosine, axis=1)]
            weights = np.eye(CLASSES)[assigned]
        np.testing.assert_array_equal(centroid_labels(torch.tensor(features), z).numpy(), assigned)

    def test_nothing_below_the_head_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=r"set backbone\.bottleneck=256"):
            SHOT(weight=0.3, smoothing=0.1, share=0.5, rounds=1).prepare(network(bottleneck=None))


def cross_entropy(p: np.ndarray, classes: Any) -> float:
    return float(np.mean([-log(row[int(c)]) for row, c in zip(p, classes, strict=True)]))


@pytest.mark.parametrize("threshold", [0.0, 0.7, 1.0])
def test_self_training_is_the_cross_entropy_of_the_sure_samples_over_all(threshold: float) -> None:
    p, q = probabilities(logits()), probabilities(logits(seed=1))
    sure = [(row, said.argmax()) for row, said in zip(p, q, strict=True) if said.max() >= threshold]
    plain = sum(-log(row[c]) for row, c in sure) / len(p)
    assert self_training(logits(), logits(seed=1), threshold).item() == pytest.approx(plain, rel=1e-5)


def test_self_training_does_not_teach_the_teacher() -> None:
    student, teacher = logits().requires_grad_(), logits(seed=1).requires_grad_()
    self_training(student, teacher, 0.0).backward()
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize(("progress", "share"), [(0.0, 0), (0.1, 0), (0.35, 0.5), (0.6, 1), (0.99, 1)])
def test_pseudo_labels_weigh_more_as_training_goes_on(progress: float, share: float) -> None:
    method, given = (
        prepared(PseudoLabel(weight=3.0, threshold=0.0, start=0.1, full=0.6)).eval(),
        batch(progress=progress),
    )
    assert linear_ramp(progress, 0.1, 0.6) == pytest.approx(share)
    (objective,) = method.objectives(given)
    p, q = (probabilities(method.classify(x).detach()) for x in (given.xs, given.xt))
    plain = cross_entropy(p, given.ys) + 3 * share * cross_entropy(q, q.argmax(1))
    assert objective.loss.item() == pytest.approx(plain, rel=1e-5)


class TestPerturbation:
    def test_features_are_dropped_and_the_others_scaled(self) -> None:
        x = torch.ones(2000, 5)
        seen = Perturbation(drop=0.2, move=None, light=0.0, cover=0.0)(x)
        assert set(seen.unique().tolist()) == {0.0, 1.25}
        assert (seen == 0).float().mean().item() == pytest.approx(0.2, abs=0.02)

    def test_images_stay_images_and_each_is_changed_in_its_own_way(self) -> None:
        images = torch.full((8, 20, 20, 3), 100, dtype=torch.uint8)
        torch.manual_seed(0)
        move = Affine(rotation=10, scale=0.1, shift=0.1)
        seen = Perturbation(drop=0.2, move=move, light=0.3, cover=0.4)(images)
        assert seen.shape == images.shape
        assert seen.dtype == torch.uint8
        corners = torch.stack([seen[:, i, j, 0] for i in (0, -1) for j in (0, -1)]).amax(0)
        assert len(corners.unique()) > 4
        assert 0 < (seen == 127).all(-1).float().mean() <= 0.4**2 + 0.02
        assert images.unique().tolist() == [100]

    def test_light_changes_contrast_and_brightness_by_at_most_its_share(self) -> None:
        """Two tones tell the two apart."""
        images = torch.tensor([100, 200], dtype=torch.uint8).view(1, 2, 1, 1).expand(500, 2, 2, 3)
        seen = Perturbation(drop=0.0, move=None, light=0.1, cover=0.0)(images)[:, :, 0, 0].float()
        contrast = (seen[:, 1] - seen[:, 0]) / 100
        brightness = (seen[:, 0] - 100 * contrast) / 255
        for change in (contrast - 1, brightness):
            assert -0.11 < change.min() < -0.09
            assert 0.09 < change.max() < 0.11

    def test_nothing_to_do_leaves_images_alone(self) -> None:
        images = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        assert torch.equal(Perturbation(drop=0.9, move=None, light=0.0, cover=0.0)(images), images)


NOTHING = Perturbation(drop=0.0, move=None, light=0.0, cover=0.0)


class TestMeanTeacher:
    def made(self, perturbation: Any = NOTHING) -> MeanTeacher:
        method = MeanTeacher(weight=3.0, decay=0.9, threshold=0.3, balance=0.005, perturbation=perturbation)
        prepared(method)
        return method

    def test_student_learns_the_source_and_the_teachers_word_on_other_views_of_the_target(self) -> None:
        method, given = self.made(perturbation=lambda x: -x).eval(), batch()
        for p in method.teacher.parameters():
            p.mul_(1.5)
        objective = next(method.objectives(given))
        source, student, teacher = method.network(given.xs), method.network(-given.xt), method.teacher(-given.xt)
        ensembling = self_ensembling(student.logits, teacher.logits, 0.3, 0.005)
        torch.testing.assert_close(objective.loss, F.cross_entropy(source.logits, given.ys) + 3 * ensembling)

    def test_ensembling_is_the_definition_written_out(self) -> None:
        p, q = probabilities(logits()), probabilities(logits(seed=1))
        sure = [float(row.max() > 0.7) for row in q]
        plain = np.mean([m * np.mean((a - b) ** 2) for m, a, b in zip(sure, p, q, strict=True)])
        for share in p.mean(0):
            imbalance = -(log(share + 1e-6) + (CLASSES - 1) * log(1 - share + 1e-6)) / CLASSES
            plain += 0.01 * np.mean(sure) * imbalance
        assert 0 < np.mean(sure) < 1
        assert self_ensembling(logits(), logits(seed=1), 0.7, 0.01).item() == pytest.approx(plain, rel=1e-5)

    def test_teacher_follows_after_each_step_and_is_what_is_scored(self) -> None:
        method, given = self.made(), batch()
        weights = method.network.head[-1].weight
        expected = weights.detach().clone()
        for step in range(3):
            for _ in method.objectives(given):
                weights.data += 1 + step
            expected = 0.9 * expected + 0.1 * weights.detach()
        method.eval()
        torch.testing.assert_close(method.teacher.head[-1].weight, expected)
        features = method.embed(given.xt, "target")
        torch.testing.assert_close(features, method.teacher.bottleneck(given.xt))
        torch.testing.assert_close(method.classify(given.xt), features @ expected.T + method.teacher.head[-1].bias)

    def test_teachers_batch_normalisation_has_the_targets_statistics(self) -> None:
        method, given = self.made(), batch()
        method.train()
        alone = deepcopy(method.teacher.bottleneck)
        for _ in range(3):
            list(method.objectives(given))
            alone(given.xt)
        for name, kept in alone.named_buffers():
            torch.testing.assert_close(method.teacher.bottleneck.get_buffer(name), kept)

    def test_only_the_student_is_trained(self) -> None:
        method = self.made()
        (objective,) = method.objectives(batch())
        objective.loss.backward()
        assert objective.train == (method.network,)
        assert all(p.grad is None for p in method.teacher.parameters())


def test_fixmatch_is_the_weak_views_labels_on_the_strong_view() -> None:
    method = FixMatch(weight=0.7, threshold=0.4, perturbation=lambda x: -x)  # type: ignore[arg-type]
    prepared(method).eval()
    given = batch()
    (objective,) = method.objectives(given)
    p, weak, strong = (probabilities(method.classify(x).detach()) for x in (given.xs, given.xt, -given.xt))
    plain = cross_entropy(p, given.ys)
    plain -= 0.7 * sum(log(s[w.argmax()]) for w, s in zip(weak, strong, strict=True) if w.max() >= 0.4) / len(weak)
    assert objective.loss.item() == pytest.approx(plain, rel=1e-5)


class TestDistillation:
    def test_soft_cross_entropy_is_the_definition_written_out(self) -> None:
        soft, said = probabilities(logits(seed=1), 3.0), probabilities(logits(), 3.0)
        plain = 9 * np.mean(
            [-sum(v * log(z) for v, z in zip(a, b, strict=True)) for a, b in zip(soft, said, strict=True)]
        )
        assert soft_cross_entropy(logits(), logits(seed=1), 3.0).item() == pytest.approx(plain, rel=1e-5)

    def test_gradient_tends_to_that_of_matched_logits_at_high_temperature(self) -> None:
        """Equation 4 of the paper: (z - v) / C for centred logits, whatever T, thanks to T^2."""
        z, v = (x / 4 - x.mean(1, keepdim=True) / 4 for x in (logits(1), logits(1, seed=1)))
        z.requires_grad_()
        soft_cross_entropy(z, v, 50.0).backward()
        torch.testing.assert_close(z.grad, (z.detach() - v) / CLASSES, rtol=0.05, atol=2e-3)

    def test_student_starts_from_the_first_weights_and_the_teacher_is_what_was_trained(self) -> None:
        method, given = Distillation(weight=0.5, temperature=2.0, share=0.5), batch()
        prepared(method)
        method.begin(given.xs, given.ys, given.xt)
        weights = method.network.head[-1].weight
        first = weights.detach().clone()
        for _ in method.objectives(given):
            weights.data += 1
        (objective,) = method.objectives(given._replace(progress=0.5))
        assert torch.equal(weights, first)
        assert torch.equal(method.teacher.head[-1].weight, first + 1)
        assert objective.train == (method.network,)
        for _ in method.objectives(given._replace(progress=0.6)):
            weights.data += 1
        assert torch.equal(method.teacher.head[-1].weight, first + 1)

    def test_students_loss_shares_its_weight_between_labels_and_the_teacher_in_evaluation_mode(self) -> None:
        method, given = Distillation(weight=0.3, temperature=2.0, share=0.5), batch()
        prepared(method)
        method.begin(given.xs, given.ys, given.xt)
        for _ in method.objectives(given):
            method.network.head[-1].weight.data *= 1.5
        (objective,) = method.train().objectives(given._replace(progress=0.5))
        source, target = method.pair(given)
        soft = soft_cross_entropy(target.logits, method.teacher.eval()(given.xt).logits, 2.0)
        torch.testing.assert_close(objective.loss, 0.7 * F.cross_entropy(source.logits, given.ys) + 0.3 * soft)


def test_coral_with_entropy_is_the_sum_of_its_terms() -> None:
    method, given = prepared(CoralEntropy(weight=10.0, entropy=0.1)).eval(), batch()
    (objective,) = method.objectives(given)
    with torch.no_grad():
        source, target = (method.network(x) for x in (given.xs, given.xt))
    gap = np.cov(source.features.numpy().T) - np.cov(target.features.numpy().T)
    q = probabilities(target.logits)
    plain = cross_entropy(probabilities(source.logits), given.ys) + 10 * (gap**2).sum() / (4 * len(gap) ** 2)
    plain += 0.1 * np.mean([entropy(row) for row in q])
    assert objective.loss.item() == pytest.approx(plain, rel=1e-5)


class TestL2M:
    def made(self) -> L2M:
        method = L2M(weight=1.5, ahead=0.1, hidden=6, width=4)
        prepared(method)
        return method

    def test_the_meta_networks_distance_is_its_formula_and_vanishes_where_the_domains_agree(self) -> None:
        method, given = self.made().eval(), batch()
        source, target = (method.network(x) for x in (given.xs, given.xt))
        embedded = [
            method.meta.embedding(torch.cat([o.features, o.logits.softmax(1)], 1)).tanh().mean(0)
            for o in (source, target)
        ]
        plain = ((embedded[0] - embedded[1]) ** 2).sum() / 4 + log(2) * mmd2(source.features, target.features)
        torch.testing.assert_close(method.meta(source, target), plain)
        assert method.meta(source, source).item() == pytest.approx(0, abs=1e-6)

    def test_the_meta_gradient_is_that_of_finite_differences_of_the_step_ahead(self) -> None:
        method, given = self.made().eval().double(), batch()
        given = given._replace(x=given.x.double())

        def foreseen(share: float) -> float:
            """Copy the network, take the step, and see: nothing of the method's own second derivatives."""
            method.meta.share.data.fill_(share)
            trial = deepcopy(method)
            weights = [*trial.network.parameters()]
            source, target = (trial.network(x) for x in (given.xs, given.xt))
            loss = F.cross_entropy(source.logits, given.ys) + 1.5 * trial.meta(source, target)
            for w, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                w.data -= 0.1 * slope
            confidence, classes = target.logits.detach().softmax(1).max(1)
            later = F.cross_entropy(trial.network(given.xt).logits, classes, reduction="none")
            return ((confidence * later).sum() / confidence.sum()).item()

        plain = (foreseen(0.02) - foreseen(-0.02)) / 0.04
        method.meta.share.data.zero_()
        objective = next(method.objectives(given))
        assert objective.train == (method.meta,)
        assert objective.loss.item() == pytest.approx(foreseen(0.0), rel=1e-4)
        objective.loss.backward()
        assert method.meta.share.grad.item() == pytest.approx(plain, rel=0.05)
        assert abs(plain) > 1e-6

    def test_the_network_learns_the_source_and_the_meta_networks_distance(self) -> None:
        method, given = self.made().eval(), batch()
        _, last = method.objectives(given)
        source, target = (method.network(x) for x in (given.xs, given.xt))
        assert last.train == (method.network,)
        expected = F.cross_entropy(source.logits, given.ys) + 1.5 * method.meta(source, target)
        torch.testing.assert_close(last.loss, expected)

    def test_looking_ahead_leaves_the_network_and_its_statistics_alone(self) -> None:
        method, given = self.made(), batch()
        before = deepcopy(method.network.state_dict())
        next(method.objectives(given))
        for name, value in method.network.state_dict().items():
            assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    "name",
    ["entropy_minimisation", "mcc", "bnm", "afn_entropy", "shot", "pseudo_label", "mean_teacher", "fixmatch",
     "distillation", "coral_entropy", "l2m"],
)  # fmt: skip
@pytest.mark.usefixtures("composed")
def test_bf16_trains_float32_weights_in_every_phase(name: str) -> None:
    config = compose("config", [f"method={name}", "task=O-P", "trainer.augment=null"]).method
    changes = {"steps": 6, "batch": 8, "seed": 0, "precision": "bf16"}
    seen: list[torch.dtype] = []
    made = Learner(
        method=noting(partial(build, config, "method"), seen),
        trainer=build(OmegaConf.merge(config.run.trainer, changes), "trainer"),
        backbone=partial(Pixels, size=16, bottleneck=4, hidden=[], discriminator=[7]),
        device="cpu",
    ).fit(
        np.random.default_rng(0).standard_normal((20, 5)), np.arange(20) % 3, np.ones((14, 5)) * np.arange(14)[:, None]
    )
    assert set(seen) == {torch.bfloat16}
    assert {p.dtype for p in made.method_.parameters()} == {torch.float32}
    assert np.isfinite(made.logits(np.zeros((2, 5)))).all()
