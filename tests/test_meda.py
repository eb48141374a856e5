import numpy as np
import pytest
from scipy.linalg import sqrtm

from tda.methods.shallow.artl import ARTL
from tda.methods.shallow.bda import balance
from tda.methods.shallow.meda import MEDA
from tda.methods.shallow.one_nn import OneNN
from tests.test_artl import textbook, unit
from tests.test_jda import accuracy, clusters


def flow(Xs, Xt, dim, steps=2000):
    """The geodesic flow kernel (d, d) as the mean of the projections on the subspaces along the geodesic."""
    Ps, Pt = (np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:dim].T for X in (Xs, Xt))
    U, cosines, Vt = np.linalg.svd(Ps.T @ Pt)
    A, theta = Ps @ U, np.arccos(np.minimum(cosines, 1))
    C = (Pt @ Vt.T - A * cosines) / np.sin(theta)
    Phi = [A * np.cos(t * theta) + C * np.sin(t * theta) for t in (np.arange(steps) + 0.5) / steps]
    return sum(P @ P.T for P in Phi) / steps


@pytest.mark.parametrize("mu", [0.2, 0.5, 1.0])
def test_it_is_the_closed_form_on_the_root_of_the_flow_kernel(mu):
    Xs, ys, Xt, _ = clusters()
    root = np.real(sqrtm(flow(Xs, Xt, 3)))
    X = unit(np.concatenate([Xs, Xt]) @ root)
    guesses = ys[np.argmin(np.linalg.norm(X[60:, None] - X[None, :60], axis=2), axis=1)]
    K = np.exp(-0.5 * np.sum((X[:, None] - X[None]) ** 2, axis=2))
    model = MEDA(classifier=OneNN(), dim=3, mu=mu, eta=0.3, lam=4.0, rho=0.7, neighbours=6, iterations=1)
    model.fit(Xs, ys, Xt)
    alpha = textbook(X, ys, guesses, K=K, sigma=0.3, lam=4.0, rho=0.7, neighbours=6, mu=mu)
    np.testing.assert_allclose(model.coefficients_, alpha, atol=1e-5)  # the mean over steps is not the integral


def test_at_a_balance_of_one_half_it_is_artl_on_the_features_of_the_flow():
    Xs, ys, Xt, _ = clusters()
    model = MEDA(classifier=OneNN(), dim=3, mu=0.5).fit(Xs, ys, Xt)
    L = model.factor_
    plain = ARTL(classifier=OneNN()).fit(Xs @ L, ys, Xt @ L)
    np.testing.assert_allclose(model.coefficients_, plain.coefficients_, atol=1e-12)


def test_the_balance_is_that_of_the_last_guesses():
    Xs, ys, Xt, _ = clusters()
    model = MEDA(classifier=OneNN(), dim=3).fit(Xs, ys, Xt)
    Z = unit(np.concatenate([Xs, Xt]) @ model.factor_)
    assert model.mu_ == balance(Z, ys, model.predict(Xt))  # the guesses do not change any more
    assert 0 < model.mu_ < 1


def test_unit_input_is_the_same_as_unit_samples():
    Xs, ys, Xt, _ = clusters()
    ours = MEDA(classifier=OneNN(), dim=3, unit_input=True).fit(Xs, ys, Xt)
    theirs = MEDA(classifier=OneNN(), dim=3).fit(unit(Xs), ys, unit(Xt))
    np.testing.assert_allclose(ours.coefficients_, theirs.coefficients_, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(7 * Xt), theirs.predict(unit(Xt)))


def test_more_dimensions_than_directions_are_refused():
    Xs, ys, Xt, _ = clusters()
    with pytest.raises(ValueError, match="dim: expected at most 12"):
        MEDA(classifier=OneNN(), dim=13).fit(Xs, ys, Xt)


@pytest.mark.data
@pytest.mark.parametrize(
    ("dataset", "tasks", "published", "off"),
    [
        (
            "office_caltech10_surf",
            ["C-A", "C-W", "C-D", "A-C", "A-W", "A-D", "W-C", "W-A", "W-D", "D-C", "D-A", "D-W"],
            [56.5, 53.9, 50.3, 43.9, 53.2, 45.9, 34.0, 42.7, 88.5, 34.9, 41.2, 87.5],
            0.3,
        ),
        ("mnist_usps_mat", ["U-M", "M-U"], [72.1, 89.5], 1.0),
    ],
)
def test_the_published_accuracies_are_reproduced(dataset, tasks, published, off):
    ours = [accuracy("meda", dataset, task) for task in tasks]
    assert np.mean(ours) == pytest.approx(np.mean(published), abs=off)
    np.testing.assert_allclose(ours, published, atol=1.5)  # the A-distance is estimated otherwise
