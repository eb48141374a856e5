import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn import linear_model
from sklearn.metrics.pairwise import rbf_kernel

from tda.divergences.information import Gaussian
from tda.divergences.kernels import candidate_gammas, median_gamma
from tda.divergences.mmd import mmd2
from tda.divergences.proxy import held_out_scores
from tda.errors import UsageError
from tda.methods.shallow.domain_classifier_weighting import DomainClassifierWeighting
from tda.methods.shallow.kliep import KLIEP, mixture
from tda.methods.shallow.kmm import KMM
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.logistic_regression import LogisticRegression
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.source_selection import (
    ADistanceSelection,
    CrossEntropySelection,
    MMDSelection,
    SourceSelection,
    herding,
)
from tda.methods.shallow.ulsif import RIDGES, ULSIF, left_out_errors

WEIGHTINGS = [
    DomainClassifierWeighting(classifier=LinearSVM()),
    KLIEP(classifier=LinearSVM()),
    ULSIF(classifier=LinearSVM()),
]
SELECTIONS: list[SourceSelection] = [
    MMDSelection(classifier=LinearSVM()),
    CrossEntropySelection(classifier=LinearSVM()),
    ADistanceSelection(classifier=LinearSVM()),
]


def called(model):
    return type(model).__name__


def shifted(ns=600, nt=500, seed=0):
    """N(0, 1) and N(0.8, 0.8^2), and the ratio of their densities at the source samples."""
    rng = np.random.default_rng(seed)
    Xs, Xt = rng.normal(size=(ns, 1)), rng.normal(0.8, 0.8, size=(nt, 1))
    return Xs, Xt, (norm.pdf(Xs, 0.8, 0.8) / norm.pdf(Xs))[:, 0]


@pytest.mark.parametrize("model", WEIGHTINGS[1:], ids=called)  # the odds of a linear rule cannot
def test_weights_follow_the_known_ratio_of_two_normal_densities(model):
    Xs, Xt, ratio = shifted()
    w = model.weigh(Xs, np.zeros(len(Xs)), Xt)
    assert w.min() >= 0
    assert w.mean() == pytest.approx(1)
    assert np.corrcoef(w, ratio)[0, 1] > 0.9
    assert np.mean((w - ratio) ** 2) < 0.3 * np.var(ratio)


def test_logistic_odds_are_the_exact_ratio_where_variances_are_equal():
    rng = np.random.default_rng(0)
    Xs, Xt = rng.normal(size=(4000, 1)), rng.normal(1.0, 1.0, size=(3000, 1))
    w = DomainClassifierWeighting(classifier=LinearSVM(), C=100.0).weigh(Xs, np.zeros(4000), Xt)
    ratio = np.exp(Xs[:, 0] - 0.5)  # N(1, 1) over N(0, 1)
    assert np.mean(np.abs(w - ratio)) < 0.1 * ratio.mean()


def test_logistic_odds_are_those_of_the_penalty():
    Xs, Xt, _ = shifted(80, 60)
    w = DomainClassifierWeighting(classifier=LinearSVM(), C=0.01).weigh(Xs, np.zeros(80), Xt)
    fitted = linear_model.LogisticRegression(C=0.01).fit(np.concatenate([Xs, Xt]), np.repeat([0, 1], [80, 60]))
    odds = np.exp(fitted.decision_function(Xs))
    np.testing.assert_allclose(w, odds / odds.mean(), rtol=1e-3)


@pytest.mark.parametrize("model", WEIGHTINGS, ids=called)
def test_the_source_where_there_is_no_target_is_left_out(model):
    rng = np.random.default_rng(4)
    Xs = np.concatenate([rng.normal(-2, 0.5, (100, 2)), rng.normal(2, 0.5, (100, 2))])
    ys = np.concatenate([Xs[:100, 0] > -2, Xs[100:, 1] > 2]).astype(np.int64)  # the rule depends on the place
    Xt = rng.normal(2, 0.5, (150, 2))
    fitted = model.fit(Xs, ys, Xt)
    assert fitted.weights_[:100].sum() < 0.02 * fitted.weights_.sum()
    assert np.mean(fitted.predict(Xt) == (Xt[:, 1] > 2)) > 0.85


@pytest.mark.parametrize("model", WEIGHTINGS, ids=called)
def test_single_precision_gives_nearly_the_same_weights(model):
    Xs, Xt, _ = shifted(100, 80)
    doubles = model.weigh(Xs, np.zeros(100), Xt)
    singles = model.weigh(Xs.astype(np.float32), np.zeros(100), Xt.astype(np.float32))
    np.testing.assert_allclose(singles, doubles, atol=2e-2 * doubles.max())


@pytest.mark.parametrize("gamma", [0.2, 2.0])
def test_kliep_solves_the_constrained_programme(gamma):
    Xs, Xt, _ = shifted(80, 60)
    chosen = Xt[:12]
    target, mean = rbf_kernel(Xt, chosen, gamma=gamma), rbf_kernel(Xs, chosen, gamma=gamma).mean(axis=0)
    alpha = mixture(target, mean)
    slow = minimize(
        lambda a: -np.mean(np.log(target @ a)),
        np.full(12, 1 / mean.sum()),
        method="SLSQP",
        bounds=[(0, None)] * 12,
        constraints={"type": "eq", "fun": lambda a: mean @ a - 1},
        options={"maxiter": 1000, "ftol": 1e-12},
    )
    assert alpha.min() >= 0
    assert mean @ alpha == pytest.approx(1)
    assert np.mean(np.log(target @ alpha)) == pytest.approx(-slow.fun, abs=1e-5)
    slack = (target / mean).T @ (1 / (target @ alpha)) / len(target) - 1  # at the maximum none is positive
    assert slack.max() < 1e-3


@pytest.mark.parametrize(("nt", "d", "times", "seed"), [(300, 10, 1 / 16, 0), (200, 50, 1, 2)])
def test_kliep_is_where_no_direction_rises_though_the_likelihood_is_flat(nt, d, times, seed):
    rng = np.random.default_rng(seed)
    Xs, Xt = rng.normal(size=(300, d)), rng.normal(size=(nt, d))
    gamma = times * median_gamma(Xs, Xt)
    target, mean = rbf_kernel(Xt, Xt[:100], gamma=gamma), rbf_kernel(Xs, Xt[:100], gamma=gamma).mean(axis=0)
    alpha = mixture(target, mean)
    slack = (target / mean).T @ (1 / (target @ alpha)) / nt - 1
    assert slack.max() < 1e-7
    assert np.abs(slack[alpha > 0]).max() < 1e-7


def test_what_makes_weights_takes_none():
    Xs, Xt, _ = shifted(30, 20)
    for model in (KLIEP(classifier=LinearSVM()), KMM(classifier=LinearSVM())):
        with pytest.raises(UsageError, match="makes weights itself, and takes none"):
            model.fit(Xs, Xs[:, 0] > 0, Xt, weights=np.ones(30))


def test_kliep_chooses_the_bandwidth_of_the_most_likely_held_out_target():
    Xs, Xt, ratio = shifted()
    chosen = KLIEP(classifier=LinearSVM())
    w = chosen.weigh(Xs, np.zeros(len(Xs)), Xt)
    error = np.mean((w - ratio) ** 2)
    narrow = KLIEP(classifier=LinearSVM(), gamma=1e4 * chosen.gamma_).weigh(Xs, np.zeros(len(Xs)), Xt)
    assert error < np.mean((narrow - ratio) ** 2)
    assert KLIEP(classifier=LinearSVM(), gamma=0.7).fit(Xs, Xs[:, 0] > 0, Xt).gamma_ == 0.7


def test_kliep_holds_each_part_of_the_target_out_of_the_others():
    Xs, Xt, _ = shifted(60, 30, seed=4)
    model = KLIEP(classifier=LinearSVM(), centres=10, folds=5)
    model.weigh(Xs, np.zeros(60), Xt)
    order = np.random.default_rng(0).permutation(30)

    def likelihood(gamma):
        target, mean = (rbf_kernel(X, Xt[order[:10]], gamma=gamma) for X in (Xt[order], Xs))
        kept = [np.delete(target, np.s_[fold::5], axis=0) for fold in range(5)]
        return np.mean([np.log(target[fold::5] @ mixture(kept[fold], mean.mean(axis=0))) for fold in range(5)])

    assert model.gamma_ == max(candidate_gammas(Xs, Xt), key=likelihood)


def test_kliep_says_that_no_source_is_near():
    with pytest.raises(ValueError, match="expected source samples near every centre"):
        KLIEP(classifier=LinearSVM(), gamma=1.0).weigh(np.zeros((5, 1)), np.zeros(5), np.full((6, 1), 100.0))
    with pytest.raises(ValueError, match="expected source samples near every centre"):  # exp(-730) is subnormal
        KLIEP(classifier=LinearSVM(), gamma=1.0).weigh(np.zeros((5, 1)), np.zeros(5), np.full((6, 1), np.sqrt(730.0)))


def test_ulsif_needs_two_samples_of_each_domain():
    with pytest.raises(ValueError, match="expected two samples of each domain at least, given 5 and 1"):
        ULSIF(classifier=LinearSVM()).weigh(np.eye(5), np.zeros(5), np.ones((1, 5)))


@pytest.mark.parametrize(("ns", "nt"), [(30, 22), (22, 30)])
def test_ulsif_leaves_each_pair_out_in_closed_form(ns, nt):
    Xs, Xt, _ = shifted(ns, nt)
    Ks, Kt = rbf_kernel(Xs, Xt[:8], gamma=0.5), rbf_kernel(Xt, Xt[:8], gamma=0.5)
    ridges = np.array([0.01, 1.0])
    expected = []
    for ridge in ridges:
        errors = []
        for i in range(min(ns, nt)):
            source, target = np.delete(Ks, i, axis=0), np.delete(Kt, i, axis=0)
            H = source.T @ source / (ns - 1) + ridge * np.eye(8)
            alpha = np.maximum(np.linalg.solve(H, target.mean(axis=0)), 0)
            errors.append((Ks[i] @ alpha) ** 2 / 2 - Kt[i] @ alpha)
        expected.append(np.mean(errors))
    np.testing.assert_allclose(left_out_errors(Ks, Kt, ridges), expected)


def test_ulsif_chooses_by_pairs_drawn_from_all_of_both_domains():
    Xs, Xt, _ = shifted(20, 60)
    Xt = np.sort(Xt, axis=0)  # the first 20 are not like the others
    model = ULSIF(classifier=LinearSVM(), centres=8)
    model.weigh(Xs, np.zeros(20), Xt)
    draw = np.random.default_rng(0)
    Xs, Xt = Xs[draw.permutation(20)], Xt[draw.permutation(60)]
    gammas = candidate_gammas(Xs, Xt)
    errors = [left_out_errors(*(rbf_kernel(X, Xt[:8], gamma=gamma) for X in (Xs, Xt)), RIDGES) for gamma in gammas]
    gamma, ridge = np.unravel_index(np.argmin(errors), np.shape(errors))
    assert (model.gamma_, model.ridge_) == (pytest.approx(gammas[gamma]), RIDGES[ridge])


def test_ulsif_with_given_parameters_is_the_ridge_solution():
    Xs, Xt, _ = shifted(40, 30)
    model = ULSIF(classifier=LinearSVM(), gamma=0.5, ridge=0.3, centres=1000)
    w = model.weigh(Xs, np.zeros(40), Xt)
    Ks, Kt = rbf_kernel(Xs, Xt, gamma=0.5), rbf_kernel(Xt, gamma=0.5)
    expected = Ks @ np.maximum(np.linalg.inv(Ks.T @ Ks / 40 + 0.3 * np.eye(30)) @ Kt.mean(axis=0), 0)
    np.testing.assert_allclose(w, expected / expected.mean())
    assert (model.gamma_, model.ridge_) == (0.5, 0.3)


def test_ulsif_says_that_no_source_is_near():
    with pytest.raises(ValueError, match="given none with a weight"):
        ULSIF(classifier=LinearSVM(), gamma=1.0).weigh(np.zeros((5, 1)), np.zeros(5), np.full((6, 1), 100.0))


def test_weighted_logistic_regression_has_the_weighted_objective():
    Xs, Xt, _ = shifted(200, 150)
    ys = (Xs[:, 0] + np.random.default_rng(2).normal(size=200) > 0.5).astype(np.int64)
    model = DomainClassifierWeighting(classifier=LogisticRegression(C=2.0)).fit(Xs, ys, Xt)
    fitted = model.classifier_.model_
    residual = model.weights_ * (ys - fitted.predict_proba(Xs)[:, 1])
    assert 2.0 * residual @ Xs[:, 0] == pytest.approx(fitted.coef_[0, 0], rel=2e-2)
    assert residual.sum() == pytest.approx(0, abs=5e-2)


@pytest.mark.parametrize("model", [*WEIGHTINGS, *SELECTIONS], ids=called)
def test_a_classifier_without_weights_is_refused(model):
    Xs, Xt, _ = shifted(40, 30)
    refused = type(model)(classifier=OneNN())
    with pytest.raises(UsageError, match="cannot weigh"):
        refused.fit(Xs, (Xs[:, 0] > 0).astype(np.int64), Xt)


@pytest.mark.parametrize("model", SELECTIONS, ids=called)
def test_each_class_keeps_its_share_and_the_nearest_of_it(model):
    rng = np.random.default_rng(0)
    ys = np.repeat([4, 7, 9], [40, 21, 3])
    far = rng.permutation(len(ys)) % 2 == 0
    far[-3:] = [True, False, True]
    Xs = rng.normal(size=(64, 5)) + 4 * far[:, None]
    Xt = rng.normal(size=(50, 5))
    w = model.weigh(Xs, ys, Xt)
    assert set(w) == {0.0, 1.0}
    np.testing.assert_array_equal([w[ys == c].sum() for c in (4, 7, 9)], [20, 11, 2])
    assert np.mean(w[~far]) > 0.8 > 0.3 > np.mean(w[far])


@pytest.mark.parametrize("cls", [MMDSelection, CrossEntropySelection, ADistanceSelection])
def test_keeping_all_changes_nothing(cls):
    Xs, Xt, _ = shifted(60, 40)
    ys = (Xs[:, 0] > 0).astype(np.int64)
    np.testing.assert_array_equal(cls(classifier=LinearSVM(), keep=1.0).weigh(Xs, ys, Xt), np.ones(60))


def test_the_difference_of_cross_entropies_is_of_both_domains():
    Xs, Xt, _ = shifted(60, 40)
    found = CrossEntropySelection(classifier=LinearSVM(), ridge=0.5).distance(Xs, Xt)
    source, target = (Gaussian.fit(X, 0.5).log_density(Xs) for X in (Xs, Xt))
    np.testing.assert_allclose(found, source - target)


def test_the_a_distances_scores_are_of_the_given_ridge_and_seed():
    Xs, Xt, _ = shifted(60, 40)
    found = ADistanceSelection(classifier=LinearSVM(), ridge=5.0, seed=3).distance(Xs, Xt)
    np.testing.assert_allclose(found, held_out_scores(Xs, Xt, ridge=5.0, seed=3)[0])


def test_herding_takes_the_sample_of_least_mmd_at_each_step():
    Xs, Xt, _ = shifted(25, 30)
    step = herding(rbf_kernel(Xs, gamma=0.5), rbf_kernel(Xs, Xt, gamma=0.5).mean(axis=1))
    taken: list[int] = []
    for _ in range(25):
        rest = [i for i in range(25) if i not in taken]
        taken.append(min(rest, key=lambda i: mmd2(Xs[[*taken, i]], Xt, gamma=0.5)))
    np.testing.assert_array_equal(np.argsort(step), taken)
    assert mmd2(Xs[taken[:8]], Xt, gamma=0.5) < 0.2 * mmd2(Xs, Xt, gamma=0.5)


def test_kliep_chooses_a_bandwidth_beside_an_outlier():
    draw = np.random.default_rng(0)
    Xs, Xt = draw.normal(size=(100, 5)), draw.normal(size=(80, 5))
    Xt[0] *= 15
    weights = KLIEP(classifier=LinearSVM()).weigh(Xs, np.arange(100) % 2, Xt)
    assert np.all(np.isfinite(weights))
    assert weights.mean() == pytest.approx(1)


def test_kliep_holds_out_no_more_parts_than_there_are_samples():
    draw = np.random.default_rng(0)
    chosen = [KLIEP(classifier=LinearSVM(), folds=folds) for folds in (3, 5)]
    Xs, Xt = draw.normal(size=(40, 2)), draw.normal(size=(3, 2))
    weights = [one.weigh(Xs, np.arange(40) % 2, Xt) for one in chosen]
    np.testing.assert_array_equal(*weights)
