import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC

from tda.errors import UsageError
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.logistic_regression import LogisticRegression
from tda.methods.shallow.one_nn import OneNN

RNG = np.random.default_rng(0)
YS = RNG.integers(0, 3, 90)
XS = RNG.normal(size=(90, 4)) + 1.5 * np.eye(3, 4)[YS]
XT = RNG.normal(size=(60, 4)) + 0.5
WEIGHTED = [LinearSVM(), LogisticRegression()]


@pytest.mark.parametrize("standardise", ["no", "source", "domain"])
def test_the_nearest_neighbour_is_the_one_of_all_distances(standardise):
    mean_s, std_s, mean_t, std_t = XS.mean(0), XS.std(0), XT.mean(0), XT.std(0)
    Zs, Zt = {
        "no": (XS, XT),
        "source": ((XS - mean_s) / std_s, (XT - mean_s) / std_s),
        "domain": ((XS - mean_s) / std_s, (XT - mean_t) / std_t),
    }[standardise]
    expected = YS[((Zt[:, None] - Zs[None]) ** 2).sum(axis=2).argmin(axis=1)]
    predicted = OneNN(standardise=standardise).fit(XS, YS, XT).predict(XT)
    np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize("standardise", ["source", "domain"])
def test_a_constant_feature_changes_nothing(standardise):
    def widened(X, value):
        return np.column_stack([X, np.full(len(X), value)])

    plain = OneNN(standardise=standardise).fit(XS, YS, XT).predict(XT)
    model = OneNN(standardise=standardise).fit(widened(XS, 7.0), YS, widened(XT, 7.0))
    np.testing.assert_array_equal(model.predict(widened(XT, 7.0)), plain)


def test_a_nearest_neighbour_refuses_weights():
    with pytest.raises(UsageError, match="LinearSVM"):
        OneNN().fit(XS, YS, XT, np.ones(90))


@pytest.mark.parametrize("model", WEIGHTED, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("columns", [4, 30], ids=["more samples", "more features"])
def test_weight_0_is_absence_and_weight_2_is_a_duplicate(model, columns):
    wide = np.random.default_rng(1).normal(size=(4, columns))
    Xs = XS @ wide

    def decide(rows, weights=None):
        fitted = model.fit(Xs[rows], YS[rows], XT @ wide, weights)
        seen = (XT @ wide - fitted.mean_) @ fitted.Xs_.T if isinstance(fitted, LinearSVM) else XT @ wide
        return fitted.model_.decision_function(seen)

    rows = np.arange(90)
    weights = np.ones(90)
    weights[:20], weights[20:50] = 0, 2
    replicated = np.repeat(rows, weights.astype(int))
    np.testing.assert_allclose(decide(rows, weights), decide(replicated), atol=2e-2)
    assert np.abs(decide(rows) - decide(replicated)).max() > 5e-2


@pytest.mark.parametrize("model", WEIGHTED, ids=lambda model: type(model).__name__)
def test_a_class_without_weight_is_never_predicted(model):
    assert set(model.fit(XS, YS, XT, (YS != 1).astype(float)).predict(XT)) == {0, 2}


def test_the_svm_minimises_its_objective():
    two = YS != 2
    X, r = XS[two], np.where(YS[two] == 0, -1, 1)
    fitted = LinearSVM(C=0.3).fit(X, YS[two], XT)
    w = fitted.model_.dual_coef_[0] @ X[fitted.model_.support_]
    b = fitted.model_.intercept_[0] - w @ fitted.mean_

    def objective(w, b):
        return 0.5 * w @ w + 0.3 * np.sum(np.maximum(0, 1 - r * (X @ w + b)))

    best = objective(w, b)
    for step in RNG.normal(size=(200, 5)) * 0.05:
        assert objective(w + step[:4], b + step[4]) > best - 1e-3


@pytest.mark.parametrize("C", [1.0, [0.1, 1.0]], ids=["given", "chosen"])
def test_an_offset_of_the_features_leaves_the_svm_alone(C):
    draw = np.random.default_rng(0)
    y = np.arange(40) % 2
    Xs, Xt = draw.normal(size=(40, 6)) + 0.4 * y[:, None], draw.normal(size=(500, 6)) + 0.2
    moved = LinearSVM(C=C).fit(Xs + 1e4, y, Xt + 1e4)
    assert moved.C_ == LinearSVM(C=C).fit(Xs, y, Xt).C_
    plain = SVC(C=moved.C_, kernel="linear").fit(Xs, y)
    decisions = moved.model_.decision_function((Xt + 1e4 - moved.mean_) @ moved.Xs_.T)
    np.testing.assert_allclose(decisions, plain.decision_function(Xt), atol=1e-2)
    clear = np.abs(decisions) > 1e-2
    np.testing.assert_array_equal(moved.predict(Xt + 1e4)[clear], plain.predict(Xt)[clear])


def test_the_logistic_model_is_where_its_gradient_is_zero():
    model = LogisticRegression(C=0.3).fit(XS, YS, XT).model_
    residual = np.eye(3)[YS] - model.predict_proba(XS)
    np.testing.assert_allclose(0.3 * residual.T @ XS, model.coef_, atol=2e-3)
    np.testing.assert_allclose(residual.sum(axis=0), 0, atol=1e-2)


@pytest.mark.parametrize("model", [*WEIGHTED, OneNN()], ids=lambda model: type(model).__name__)
def test_single_precision_gives_the_same_classes(model):
    doubles = model.fit(XS, YS, XT).predict(XT)
    singles = model.fit(XS.astype(np.float32), YS, XT.astype(np.float32)).predict(XT.astype(np.float32))
    assert np.mean(doubles != singles) < 0.02
    assert singles.dtype == YS.dtype


@pytest.mark.parametrize("model", WEIGHTED, ids=lambda model: type(model).__name__)
def test_pixels_converge_without_a_warning(model):
    y = RNG.integers(0, 4, 300)
    prototypes = gaussian_filter(RNG.normal(size=(4, 16, 16, 3)), (0, 2, 2, 0)) * 3
    images = 0.5 + prototypes[y] + 0.4 * gaussian_filter(RNG.normal(size=(300, 16, 16, 3)), (0, 1, 1, 0))
    X = np.clip(images, 0, 1).reshape(300, -1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.mean(model.fit(X, y, X).predict(X) == y) > 0.95


def test_a_matrix_larger_than_memory_is_refused_by_what_it_would_take() -> None:
    many = np.zeros((2_000_000, 1))
    with pytest.raises(
        ValueError, match=r"2000000 x 2000000 pairs of samples takes 29802 GiB, and this machine has \d+"
    ):
        LinearSVM().fit(many, np.arange(len(many)) % 2, many[:5])


def test_of_several_weights_the_source_chooses() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(60) % 2
    X = rng.normal(size=(60, 30)) + 0.6 * y[:, None] * (np.arange(30) < 3)
    choices = [100.0, 1e-3, 1e-6]
    model = LinearSVM(C=choices).fit(X, y, X[:5])
    folds = StratifiedKFold(2, shuffle=True, random_state=0)
    right = {C: cross_val_score(SVC(C=C, kernel="linear"), X, y, cv=folds).mean() for C in choices}
    assert right[model.C_] == max(right.values())
    assert min(right.values()) < max(right.values())
    np.testing.assert_array_equal(model.predict(X), LinearSVM(C=model.C_).fit(X, y, X[:5]).predict(X))


def test_samples_of_little_weight_have_little_say_in_the_choice() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    X = rng.normal(size=(120, 30)) + 0.6 * y[:, None] * (np.arange(30) < 3)
    y[60:] = rng.permutation(y[60:])
    choices = [1e-4, 1e-2, 1.0, 100.0]
    little = LinearSVM(C=choices).fit(X, y, X[:5], weights=np.repeat([1.0, 1e-9], 60)).C_
    folds = [*StratifiedKFold(2, shuffle=True, random_state=0).split(X, y)]

    def accuracy(C: float) -> float:
        shares = []
        for train, test in folds:
            kept, judged = train[train < 60], test[test < 60]
            shares.append(np.mean(SVC(C=C, kernel="linear").fit(X[kept], y[kept]).predict(X[judged]) == y[judged]))
        return float(np.mean(shares))

    assert accuracy(little) == max(map(accuracy, choices))
    assert little != LinearSVM(C=choices).fit(X, y, X[:5]).C_
