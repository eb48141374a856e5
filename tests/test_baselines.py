import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from sklearn import decomposition
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import SVC

from tda.methods.shallow.knn import KNN
from tda.methods.shallow.label_propagation import LabelPropagation
from tda.methods.shallow.linear_svm import LinearSVM
from tda.methods.shallow.nearest_prototype import NearestPrototype
from tda.methods.shallow.one_nn import OneNN
from tda.methods.shallow.pca import PCA
from tda.methods.shallow.rbf_svm import RBFSVM

RNG = np.random.default_rng(0)
YS = np.array([4, 7, 9])[RNG.integers(0, 3, 90)]
XS = RNG.normal(size=(90, 4)) + 1.5 * (YS[:, None] == [4, 7, 9, 0])
XT = RNG.normal(size=(60, 4)) + 0.5
WEIGHTS = np.repeat([0.0, 1.0, 2.0], 30)
REPLICATED = np.repeat(np.arange(90), WEIGHTS.astype(int))


def units(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


class TestKNN:
    @pytest.mark.parametrize("vote", ["uniform", "distance"])
    @pytest.mark.parametrize("k", [1, 4, 7])
    def test_it_votes_as_sklearn_does(self, k, vote):
        expected = KNeighborsClassifier(k, weights=vote).fit(XS, YS).predict(XT)
        np.testing.assert_array_equal(KNN(k=k, vote=vote).fit(XS, YS, XT).predict(XT), expected)

    def test_a_fitted_sample_is_its_own_neighbour(self):
        np.testing.assert_array_equal(KNN(k=5, vote="distance").fit(XS, YS, XS).predict(XS), YS)

    @pytest.mark.parametrize("standardise", ["no", "source", "domain"])
    def test_one_neighbour_is_one_nn(self, standardise):
        expected = OneNN(standardise=standardise).fit(XS, YS, XT).predict(XT)
        np.testing.assert_array_equal(KNN(k=1, standardise=standardise).fit(XS, YS, XT).predict(XT), expected)

    def test_weight_0_is_absence_and_more_weight_is_more_votes(self):
        Xs, ys, x = np.array([[0.0], [1.0], [1.1], [9.0]]), np.array([3, 7, 7, 8]), np.array([[0.2]])
        model = KNN(k=3)
        assert model.fit(Xs, ys, x, np.ones(4)).predict(x) == 7
        assert model.fit(Xs, ys, x, np.array([3.0, 1.0, 1.0, 1.0])).predict(x) == 3
        assert model.fit(Xs, ys, x, np.array([1.0, 0.0, 1.0, 9.0])).predict(x) == 8

    def test_more_neighbours_than_samples_are_refused(self):
        with pytest.raises(ValueError, match="k: expected at most the 60 source samples in use, given 61; lower k"):
            KNN(k=61).fit(XS, YS, XT, WEIGHTS)


class TestNearestPrototype:
    def test_it_is_the_nearest_centroid(self):
        expected = NearestCentroid().fit(XS, YS).predict(XT)
        np.testing.assert_array_equal(NearestPrototype().fit(XS, YS, XT).predict(XT), expected)

    def test_the_cosine_is_largest(self):
        means = np.stack([units(XS)[c == YS].mean(axis=0) for c in (4, 7, 9)])
        expected = np.array([4, 7, 9])[(units(XT) @ units(means).T).argmax(axis=1)]
        np.testing.assert_array_equal(NearestPrototype(metric="cosine").fit(XS, YS, XT).predict(XT), expected)

    def test_weights_are_duplicates(self):
        model = NearestPrototype()
        weighted = model.fit(XS, YS, XT, WEIGHTS).prototypes_
        np.testing.assert_allclose(model.fit(XS[REPLICATED], YS[REPLICATED], XT).prototypes_, weighted)


class TestRBFSVM:
    def test_it_is_that_of_sklearn(self):
        model = RBFSVM(C=2.0, gamma=0.3).fit(XS, YS, XT)
        expected = SVC(C=2.0, gamma=0.3).fit(XS, YS).predict(XT)
        np.testing.assert_array_equal(model.predict(XT), expected)

    def test_the_bandwidth_is_the_median_of_the_source(self):
        pairs = [np.sum((XS[i] - XS[j]) ** 2) for i in range(90) for j in range(i)]
        assert RBFSVM().fit(XS, YS, XT).gamma_ == pytest.approx(1 / (2 * np.median(pairs)))
        assert RBFSVM().fit(1000 * XS, YS, XT).gamma_ == pytest.approx(1e-6 / (2 * np.median(pairs)))

    def test_weights_are_duplicates(self):
        model = RBFSVM(gamma=0.3)
        weighted = model.fit(XS, YS, XT, WEIGHTS)
        first = weighted.model_.decision_function(rbf_kernel(XT, weighted.Xs_, gamma=0.3))
        replicated = model.fit(XS[REPLICATED], YS[REPLICATED], XT)
        second = replicated.model_.decision_function(rbf_kernel(XT, replicated.Xs_, gamma=0.3))
        np.testing.assert_allclose(first, second, atol=2e-2)


class TestPCA:
    @pytest.mark.parametrize("d", [8, 300], ids=["d<n", "d>n"])
    def test_components_are_those_of_sklearn(self, d):
        rng = np.random.default_rng(1)
        Xs, Xt = rng.normal(size=(2, 80, d)) * np.arange(1, d + 1) ** -0.5
        model = PCA(classifier=OneNN(), dim=5)
        Zs, Zt = model.align(Xs, np.zeros(80), Xt + 1)
        oracle = decomposition.PCA(5, svd_solver="full").fit(np.concatenate([Xs, Xt + 1]))
        np.testing.assert_allclose(np.abs(Zs), np.abs(oracle.transform(Xs)), atol=1e-9)
        np.testing.assert_allclose(model.transform(Xt[3:5] + 1), Zt[3:5], atol=1e-12)

    def test_unit_rows_forget_the_length(self):
        model = PCA(classifier=OneNN(), dim=2, unit_rows=True)
        Zs, _ = model.align(XS, YS, XT)
        np.testing.assert_allclose(model.align(XS * np.arange(1, 91)[:, None], YS, 3 * XT)[0], Zs, atol=1e-12)

    def test_too_many_components_are_refused(self):
        with pytest.raises(ValueError, match="dim: expected at most 4"):
            PCA(classifier=OneNN(), dim=5).align(XS, YS, XT)


def slow_propagation(Xs, ys, Xt, k, alpha, gamma, weights=1.0):
    """(I - alpha S)^-1 Y with every matrix in full."""
    X = np.concatenate([Xs, Xt])
    ns, n = len(Xs), len(X)
    squared = ((X[:, None] - X[None]) ** 2).sum(axis=2)
    W = np.zeros((n, n))
    for i in range(n):
        for domain in (range(ns), range(ns, n)):
            for j in sorted((j for j in domain if j != i), key=lambda j: squared[i, j])[:k]:
                W[i, j] = W[j, i] = np.exp(-gamma * squared[i, j])
    D = W.sum(axis=1)
    S = W / np.sqrt(np.outer(D, D))
    Y = np.concatenate([ys[:, None] == np.unique(ys), np.zeros((len(Xt), len(np.unique(ys))))]).astype(float)
    Y[:ns] *= np.broadcast_to(weights, ns)[:, None]
    return np.linalg.solve(np.eye(n) - alpha * S, Y)[ns:]


class TestLabelPropagation:
    @pytest.mark.parametrize("alpha", [0.2, 0.99])
    def test_scores_are_those_of_the_dense_system(self, alpha):
        Xt = np.concatenate([XT, XS[:2]])  # two samples that lie in both domains
        model = LabelPropagation(k=6, alpha=alpha, gamma=0.3).fit(XS, YS, Xt)
        expected = slow_propagation(XS, YS, Xt, 6, alpha, 0.3)
        np.testing.assert_allclose(model.scores_, expected, atol=1e-6 * expected.max())
        np.testing.assert_array_equal(model.predict(Xt), np.array([4, 7, 9])[expected.argmax(axis=1)])

    def test_a_weight_multiplies_the_label(self):
        weights = np.repeat([0.5, 1.0, 2.0], 30)
        model = LabelPropagation(k=6, gamma=0.3).fit(XS, YS, XT, weights)
        expected = slow_propagation(XS, YS, XT, 6, 0.2, 0.3, weights)
        np.testing.assert_allclose(model.scores_, expected, atol=1e-6 * expected.max())

    def test_class_mass_gives_each_class_the_share_of_the_source(self):
        model = LabelPropagation(class_mass=True).fit(XS, YS, XT)
        share = [np.mean(c == YS) for c in (4, 7, 9)]
        np.testing.assert_allclose(model.scores_.sum(axis=0), share)

    def test_labels_follow_two_moons(self):
        turn = np.linspace(0, np.pi, 100)
        upper = np.column_stack([np.cos(turn), np.sin(turn)])
        lower = np.column_stack([1 - np.cos(turn), 0.5 - np.sin(turn)])
        Xs, ys = np.stack([upper[0], lower[-1]]), np.array([3, 5])  # one sample of each, at the outer ends
        Xt, yt = np.concatenate([upper[1:], lower[:-1]]), np.repeat([3, 5], 99)
        assert np.mean(OneNN().fit(Xs, ys, Xt).predict(Xt) == yt) < 0.9
        assert np.mean(LabelPropagation(k=3, alpha=0.999, gamma=100.0).fit(Xs, ys, Xt).predict(Xt) == yt) == 1

    def test_a_sample_far_from_all_others_takes_the_label_of_the_least_far(self):
        ys, near = np.repeat([3, 5], 10), np.repeat([0.0, 10.0], 10)
        noise = RNG.normal(size=(40, 2))
        Xs, Xt = near[:, None] + noise[:20], noise[20:]
        Xt[7] += 300
        assert LabelPropagation(k=6, gamma=0.3).fit(Xs, ys, Xt).predict(Xt)[7] == 5
        assert (LabelPropagation(k=6, gamma=0.3).fit(Xs, ys, Xt + 300).scores_ > 0).any(axis=1).all()

    def test_unseen_samples_follow_the_nearest_seen(self):
        model = LabelPropagation().fit(XS, YS, XT)
        np.testing.assert_array_equal(model.predict(XT[::-1] + 1e-9), model.predict(XT)[::-1])

    def test_a_source_sample_without_weight_has_no_label(self):
        predicted = LabelPropagation().fit(XS, YS, XT, (YS != 7).astype(float)).predict(XT)
        assert set(predicted) == {4, 9}


def test_a_vote_is_a_classifier_after_an_aligner():
    for classifier in (KNN(k=3), NearestPrototype(), RBFSVM(), LabelPropagation(), LinearSVM()):
        model = PCA(classifier=classifier, dim=3).fit(XS, YS, XT)
        assert set(model.predict(XT)) <= {4, 7, 9}


DATA = Path(os.environ.get("TDA_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "mat"
PUBLISHED = {  # J. Wang's benchmark (SURF, dim 100) and MEDA (digits), per task
    "caltech-amazon": 36.95, "caltech-webcam": 32.54, "caltech-dslr": 38.22, "amazon-caltech": 34.73,
    "amazon-webcam": 35.59, "amazon-dslr": 27.39, "webcam-caltech": 26.36, "webcam-amazon": 31.00,
    "webcam-dslr": 77.07, "dslr-caltech": 29.65, "dslr-amazon": 32.05, "dslr-webcam": 75.93,
}  # fmt: skip


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set TDA_DATA to the folder that holds mat/")
def test_pca_gives_the_published_accuracies_on_surf():
    domains = {}
    for name in ("amazon", "caltech", "dslr", "webcam"):
        stored = loadmat(DATA / f"{name}_SURF_L10.mat")
        X = stored["fts"] / stored["fts"].sum(axis=1, keepdims=True)
        spread = X.std(axis=0)
        domains[name] = (X - X.mean(axis=0)) / np.where(spread == 0, 1, spread), stored["labels"].ravel()
    for task, accuracy in PUBLISHED.items():
        (Xs, ys), (Xt, yt) = (domains[name] for name in task.split("-"))
        predicted = PCA(classifier=OneNN(), dim=100).fit(Xs, ys, Xt).predict(Xt)
        assert 100 * np.mean(predicted == yt) == pytest.approx(accuracy, abs=0.01), task


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}; set TDA_DATA to the folder that holds mat/")
@pytest.mark.parametrize(("name", "accuracy"), [("USPS_vs_MNIST", 45.0), ("MNIST_vs_USPS", 66.2)])
def test_pca_gives_the_published_accuracies_on_digits(name, accuracy):
    stored = loadmat(DATA / f"{name}.mat")
    Xs, Xt = stored["Xs"].T.astype(float), stored["Xt"].T.astype(float)
    model = PCA(classifier=OneNN(), dim=100, unit_rows=True).fit(Xs, stored["Ys"].ravel(), Xt)
    assert 100 * np.mean(model.predict(Xt) == stored["Yt"].ravel()) == pytest.approx(accuracy, abs=0.06)
