"""Pictures of features: what is kept, and that a run keeps them beside its records without changing these."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tda import embedding
from tda.__main__ import main
from tda.store import Store


def domains(n: int) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    scale = np.array([10.0, 3.0, 0.1, 0.1, 0.1])
    return (rng.normal(size=(n, 5)) * scale, rng.normal(size=(9, 5)) * scale + 40), (
        rng.integers(3, size=n),
        np.zeros(9, int),
    )


def test_the_principal_components_are_those_of_both_domains_together(tmp_path: Path) -> None:
    X, y = domains(12)
    embedding.keep(tmp_path / "a.npz", X, X, y)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["domain"].tolist() == [0] * 12 + [1] * 9
        assert file["label"].tolist() == np.concatenate(y).tolist()
        expected = PCA(2).fit_transform(np.concatenate(X))
        for kept, axis in zip(file["pca_after"].T.astype(float), expected.T, strict=True):
            assert abs(np.corrcoef(kept, axis)[0, 1]) == pytest.approx(1, abs=1e-5)
        assert np.isfinite(file["tsne_before"]).all()
        assert np.abs(file["tsne_before"]).max() <= 1


def test_no_more_than_a_few_samples_of_a_domain_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "KEPT", 7)
    X, y = domains(12)
    embedding.keep(tmp_path / "a.npz", X, X, y)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert np.bincount(file["domain"]).tolist() == [7, 7]


@pytest.mark.parametrize(("shape", "columns"), [((3, 8), 8), ((3, 28, 28), 784), ((3, 100, 70, 3), 25 * 24 * 3)])
def test_images_are_thinned(shape: tuple[int, ...], columns: int) -> None:
    assert embedding.flat(np.zeros(shape, np.uint8)).shape == (3, columns)


@pytest.mark.parametrize("width", [1, 5])
def test_features_without_spread_and_of_one_dimension_are_drawn(width: int, tmp_path: Path) -> None:
    (Xs, Xt), y = domains(12)
    flat = np.ones((12, width)), np.ones((9, width))
    embedding.keep(tmp_path / "a.npz", flat, (Xs[:, :width], Xt[:, :width]), y)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert not file["pca_before"].any()
        assert not file["tsne_before"].any()
        assert file["tsne_after"].shape == (21, 2)
        assert np.abs(file["tsne_after"]).max() == 1


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    X, y = domains(12)
    with pytest.raises(ValueError, match="samples for"):
        embedding.keep(tmp_path / "a.npz", X, (X[0][:5], X[1]), y)
    with pytest.raises(ValueError, match="finite"):
        embedding.keep(tmp_path / "a.npz", X, (X[0] * np.nan, X[1]), y)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_keeps_features_and_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(embedding, "KEPT", 30)
    command = ["run", "method=pca", "task=O-S", f"results={tmp_path}"]
    assert main(command) == 0
    (plain,) = Store(tmp_path).all()
    assert main([*command, "keep_features=true"]) == 0
    (kept,) = Store(tmp_path).all()
    assert (kept.key, kept.accuracy) == (plain.key, plain.accuracy)
    with np.load(Store(tmp_path).embedding("digits", "pca", "O-S", kept.key), allow_pickle=False) as file:
        assert file["pca_before"].shape == file["tsne_after"].shape == (60, 2)
    capsys.readouterr()
    assert main([*command, "keep_features=true"]) == 0
    assert "1 done already" in capsys.readouterr().err
