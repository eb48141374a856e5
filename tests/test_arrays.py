"""Files of features in every format, and what is wrong with them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.io import savemat

from tda.data.arrays import Features, read, scaled
from tda.errors import UsageError

X = np.random.default_rng(0).normal(size=(7, 4))
Y = np.array([1, 2, 3, 1, 2, 3, 3])


def write_v73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["fts"], file["labels"] = X.T, Y[None].astype(float)
    content = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + content[512:])


def write_npy(path: Path) -> None:
    np.save(path, X)
    np.save(path.with_name("labels.npy"), Y)


def write_csv(path: Path, header: str = "") -> None:
    np.savetxt(path, np.column_stack([X, Y]), delimiter=",", header=header, comments="", fmt="%.17g")


WRITERS: dict[str, Any] = {
    "v5.mat": lambda path: savemat(path, {"fts": X, "labels": Y[:, None]}),
    "columns.mat": lambda path: savemat(path, {"Xs": X.T, "Ys": Y[:, None]}),
    "v73.mat": write_v73,
    "a.npz": lambda path: np.savez(path, features=X, y=Y),
    "x.npy#labels.npy": write_npy,
    "plain.csv": write_csv,
    "named.csv": lambda path: write_csv(path, "a,b,c,d,label"),
    "blank.csv": lambda path: write_csv(path, "\na,b,c,d,label"),
    "a.safetensors": lambda path: save_file({"x": X, "y": Y}, path),
    "both.npz#Xt,Yt": lambda path: np.savez(path, Xs=-X, Ys=Y, Xt=X, Yt=Y),
}


def dataset(root: Path, place: str, **changes: Any) -> Features:
    settings: dict[str, Any] = {
        "name": "toy", "root": str(root), "domains": {"A": place, "B": place}, "tasks": "A-B,B-A",
        "classes": None, "counts": None, "rows": "none", "columns": "none",
    }  # fmt: skip
    return Features(**(settings | changes))


@pytest.mark.parametrize("place", WRITERS)
def test_every_format_is_read(tmp_path: Path, place: str) -> None:
    WRITERS[place](tmp_path / place.partition("#")[0])
    domain = dataset(tmp_path, place).domain("A")
    np.testing.assert_array_equal(domain.x, X)
    assert domain.y.tolist() == [0, 1, 2, 0, 1, 2, 2]
    assert domain.y.dtype == np.int64
    assert domain.fingerprint


def test_labels_are_those_of_all_domains_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X[:3], y=[5, 9, 9])
    np.savez(tmp_path / "b.npz", x=X[:2], y=[9, 7])
    made = dataset(tmp_path, "", domains={"A": "a.npz", "B": "b.npz"})
    assert made.classes == ("5", "7", "9")
    assert made.domain("B").y.tolist() == [2, 1]
    assert dict(made.census("A")) == {"5": 1, "9": 2}
    named = dataset(tmp_path, "", domains={"A": "a.npz", "B": "b.npz"}, classes=["five", "nine"])
    with pytest.raises(UsageError, match=r"toy has 3 labels \(5, 7, 9\) for 2 class names"):
        named.domain("A")


def test_domains_without_a_common_label_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X[:3], y=[5, 9, 9])
    np.savez(tmp_path / "b.npz", x=X[:2], y=[1, 2])
    with pytest.raises(UsageError, match="toy: A and B have no label in common; label both alike"):
        dataset(tmp_path, "", domains={"A": "a.npz", "B": "b.npz"}).domain("A")


def test_classes_that_one_domain_lacks_are_told_once_for_each_task(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y - 1)
    np.savez(tmp_path / "b.npz", x=X, y=Y)
    np.savez(tmp_path / "c.npz", x=X, y=np.full(7, 2))
    domains = {name: f"{name}.npz" for name in "abc"}
    for _ in range(2):
        dataset(tmp_path, "", name="toy", domains=domains).task("a-b")
    assert [record.getMessage() for record in caplog.records] == [
        "toy a-b: a has no samples of class 3, b has no samples of class 0; "
        "expected the same classes in both domains: see that they are labelled alike"
    ]
    dataset(tmp_path, "", name="toy", domains=domains).task("c-b")
    assert "toy c-b: c has no samples of class 1, 3, c has a single class to learn from" in caplog.text


def test_nothing_is_told_of_domains_of_the_same_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where a third domain has more."""
    for name, y in (("a", Y), ("b", Y[::-1]), ("c", Y + 1)):
        np.savez(tmp_path / f"{name}.npz", x=X, y=y)
    dataset(tmp_path, "", domains={name: f"{name}.npz" for name in "abc"}).task("a-b")
    assert not caplog.records


def test_rows_and_columns_are_scaled_as_the_published_tables_need() -> None:
    counts = np.array([[1.0, 3.0, 0.0], [2.0, 2.0, 0.0], [0.0, 5.0, 0.0]])
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scaled(counts, "l1", "none"), shares)
    np.testing.assert_allclose(scaled(counts, "l2", "none"), counts / np.linalg.norm(counts, axis=1, keepdims=True))
    z = scaled(counts, "l1", "standard")
    expected = (shares[:, :2] - shares[:, :2].mean(axis=0)) / shares[:, :2].std(axis=0)
    np.testing.assert_allclose(z[:, :2], expected)
    assert (z[:, 2] == 0).all()


def test_other_numbers_than_published_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    counts = {"A": {"1": 2, "2": 2, "3": 4}}
    with pytest.raises(
        UsageError, match=r"toy A \(a.npz\) has 3 samples of class '3', published 4; set dataset.counts=null"
    ):
        dataset(tmp_path, "a.npz", counts=counts).domain("A")
    assert len(dataset(tmp_path, "a.npz", counts={"A": 7}).domain("A").x) == 7


def test_domains_of_other_features_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    np.savez(tmp_path / "b.npz", x=X[:, :3], y=Y)
    with pytest.raises(UsageError, match=r"toy: expected domains of the same features; their numbers are A 4, B 3"):
        dataset(tmp_path, "", domains={"A": "a.npz", "B": "b.npz"}).domain("A")


def with_pickle(path: Path) -> None:
    np.savez(path, x=np.array([{"a": 1}, None], dtype=object), y=Y)


@pytest.mark.parametrize(
    ("place", "write", "message"),
    [
        ("a.npz", None, r"cannot read features from '.*a\.npz': .*No such file"),
        ("a.txt", lambda path: path.write_text("1"), r"a\.txt: expected one of \.mat, \.npz"),
        ("a.mat", lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file, broken off"), "cannot read features"),
        ("a.npz", lambda path: path.write_bytes(b"PK\3\4broken"), "cannot read features"),
        ("a.npz", with_pickle, "cannot read features.*damaged, or holds Python objects, which are never read"),
        ("a.safetensors", lambda path: path.write_bytes(b"12345678{"), "cannot read features"),
        ("a.csv", lambda path: path.write_text("1,2,x\n3,4,5\n6,y,7\n"), "cannot read features"),
        ("a.csv", lambda path: path.write_text("1,2,0.5\n3,4,1\n"), "expected whole numbers as labels, given 0.5"),
        ("a.csv", lambda path: path.write_text("1,nan,0\n3,4,1\n"), "a feature is not a finite number"),
        ("a.csv", lambda path: path.write_text(""), "it holds no samples"),
        ("a.csv", lambda path: path.write_text("a,b,label\n"), "it holds no samples"),
        ("a.npz", lambda path: np.savez(path, x=X[:0], y=Y[:0]), r"expected samples, found none .* \(0, 4\)"),
        ("x.npy", lambda path: np.save(path, X), r"name it after a #: x\.npy#labels\.npy"),
        ("a.npz", lambda path: np.savez(path, x=X, y=Y[:-1]), r"6 labels do not fit features of shape \(7, 4\)"),
        ("a.npz", lambda path: np.savez(path, x=X, z=X, y=Y), r"expected one matrix and one vector, found x \(7, 4\)"),
        ("a.npz#x,q", lambda path: np.savez(path, x=X, y=Y), "'q' is not a key of a.npz"),
        ("a.npz#x,y,z", lambda path: np.savez(path, x=X, y=Y, z=Y), "expected two keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, place: str, write: Any, message: str) -> None:
    if write is not None:
        write(tmp_path / place.partition("#")[0])
    with pytest.raises(UsageError, match=message) as raised:
        read(tmp_path, place)
    assert "\n" not in str(raised.value)
