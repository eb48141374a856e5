"""Files of features in every format, and what is wrong with them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.io import savemat
from scipy.sparse import csc_array

from tda.data.arrays import Features, scaled
from tda.data.feature_files import read
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


def write_csv(path: Path, header: str = "", fmt: str = "%.17g") -> None:
    np.savetxt(path, np.column_stack([X, Y]), delimiter=",", header=header, comments="", fmt=fmt)


WRITERS: dict[str, Any] = {
    "v5.mat": lambda path: savemat(path, {"fts": X, "labels": Y[:, None]}),
    "columns.mat": lambda path: savemat(path, {"Xs": X.T, "Ys": Y[:, None]}),
    "v73.mat": write_v73,
    "a.npz": lambda path: np.savez(path, features=X, y=Y),
    "x.npy#labels.npy": write_npy,
    "plain.csv": write_csv,
    "named.csv": lambda path: write_csv(path, "a,b,c,d,label"),
    "counted.csv": lambda path: write_csv(path, "0,1,2,3,4", "%.17f"),
    "counted_from_one.csv": lambda path: write_csv(path, "1,2,3,4,5", "%.17f"),
    "coordinates.csv": lambda path: write_csv(path, "x,y,z,t,kind"),
    "blank.csv": lambda path: write_csv(path, "\na,b,c,d,label"),
    "numbered.csv": lambda path: write_csv(path, "0,1,2,3,label"),
    "quoted.csv": lambda path: path.write_text(
        "\n".join(",".join(f'"{cell!r}"' for cell in row) for row in np.column_stack([X, Y]).tolist())
    ),
    "any_name.csv": lambda path: write_csv(path, "0,1,2,3,kind"),
    "remarks.csv": lambda path: write_csv(path, "# 7 samples\n# a,b,c,d,label"),
    "a.safetensors": lambda path: save_file({"x": X, "y": Y}, path),
    "both.npz#Xt,Yt": lambda path: np.savez(path, Xs=-X, Ys=Y, Xt=X, Yt=Y),
}


def dataset(root: Path, place: str, **changes: Any) -> Features:
    settings: dict[str, Any] = {
        "name": "toy", "root": str(root), "domains": {"A": place}, "tasks": "A-B,B-A",
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


@pytest.mark.parametrize("start", [0, 1])
def test_a_long_first_line_that_counts_is_no_sample_of_whole_numbers(tmp_path: Path, start: int) -> None:
    table = np.random.default_rng(0).integers(0, 17, (5, 65))
    names = ",".join(map(str, range(start, start + 65)))
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header=names, comments="", fmt="%d")
    found = read(tmp_path, "a.csv")
    np.testing.assert_array_equal(found.x, table[:, :-1])
    assert found.y.tolist() == table[:, -1].tolist()


def test_whole_numbers_that_begin_as_a_count_are_a_sample(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1,3\n3,5,1\n")
    assert read(tmp_path, "a.csv").x.tolist() == [[0, 1], [3, 5]]


@pytest.mark.parametrize("start", [0, 1, 30])
@pytest.mark.parametrize("header", ["", "Unnamed: 0,a,b,c,d,label\n"])
def test_an_index_among_the_features_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, start: int, header: str
) -> None:
    lines = (f"{start + i},{','.join(map(str, x))},{y}\n" for i, (x, y) in enumerate(zip(X, Y, strict=True)))
    (tmp_path / "a.csv").write_text(header + "".join(lines))
    assert [read(tmp_path, "a.csv").x.shape for _ in range(2)] == [(7, 5), (7, 5)]
    (told,) = (record.getMessage() for record in caplog.records)
    assert "a.csv: the first column counts the lines, and is taken as a feature; an index is no feature" in told


def test_nothing_is_told_of_features_that_do_not_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for text in ("3,0.5,0\n4,0.1,1\n6,0.2,1\n", "0,7,1\n1,5,0\n"):
        (tmp_path / "a.csv").write_text(text)
        read(tmp_path, "a.csv")
    assert not caplog.records


def test_other_labels_in_a_file_of_their_own_are_other_data(tmp_path: Path) -> None:
    write_npy(tmp_path / "x.npy")
    before = dataset(tmp_path, "x.npy#labels.npy").domain("A").fingerprint
    np.save(tmp_path / "labels.npy", Y[::-1])
    changed = dataset(tmp_path, "x.npy#labels.npy")
    assert changed.domain("A").fingerprint != before
    assert changed.content("A") != before


@pytest.mark.parametrize(("x", "y"), [(X[:1], Y[:1]), (X[:, :1], Y), (X[:, :1].T, Y)])
def test_one_sample_and_one_feature_are_no_vectors_of_labels(tmp_path: Path, x: np.ndarray, y: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", x=x, y=y)
    found = read(tmp_path, "a.npz")
    assert found.x.tolist() == x.reshape(len(y), -1).tolist()
    assert found.y.tolist() == y.tolist()


def test_text_beside_a_vector_of_numbers_is_passed_over(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y, names=np.array(["bike", "mug", "pen"]))
    assert read(tmp_path, "a.npz").y.tolist() == Y.tolist()


def test_a_name_that_tasks_cannot_hold_is_answered_by_a_mapping_that_works(tmp_path: Path) -> None:
    np.savez(tmp_path / "a-1.npz", x=X, y=Y)
    with pytest.raises(
        UsageError, match=r"dataset\.domains=\{A: \"PLACE\", \.\.\.\}'.*its file, with .*\(\"a-1\.npz\", say"
    ):
        dataset(tmp_path, "", domains={"a-1": "a-1.npz"})
    assert len(dataset(tmp_path, "a-1.npz").domain("A").x) == 7


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


def test_a_task_of_domains_without_a_common_label_is_refused_whatever_a_third_has(tmp_path: Path) -> None:
    for name, y in (("a", [5, 9, 9]), ("b", [1, 2, 2]), ("c", [9, 9, 5])):
        np.savez(tmp_path / f"{name}.npz", x=X[:3], y=y)
    made = dataset(tmp_path, "", domains={name.upper(): f"{name}.npz" for name in "abc"})
    with pytest.raises(UsageError, match="toy: A and B have no label in common; label both alike"):
        made.task("A-B")
    assert made.task("A-C").target.y.tolist() == [3, 3, 2]


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["bike", "mug", "bike"]}, r"toy: 'bike' is listed twice in dataset\.classes; expected each once"),
        (
            {"domains": {"A": "a.npz", "B": "a.npz"}},
            r"toy: 'a\.npz' is listed twice in dataset\.domains; expected each",
        ),
    ],
)
def test_what_stands_twice_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", x=X, y=Y)
    with pytest.raises(UsageError, match=message):
        dataset(tmp_path, "a.npz", **changes)


def test_labels_in_a_file_with_a_comma_in_its_name_are_read(tmp_path: Path) -> None:
    write_npy(tmp_path / "x.npy")
    (tmp_path / "labels.npy").rename(tmp_path / "y,1.npy")
    assert read(tmp_path, "x.npy#y,1.npy").y.tolist() == Y.tolist()


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
        ("a.npz", None, r"cannot read features from '[^']*a\.npz': No such file or directory$"),
        ("a.safetensors", None, r"cannot read features from '[^']*a\.safetensors': No such file or directory$"),
        ("a.txt", lambda path: path.write_text("1"), r"a\.txt: expected one of \.mat, \.npz"),
        ("a.mat", lambda path: path.write_bytes(b"MATLAB 5.0 MAT-file, broken off"), "cannot read features"),
        ("a.npz", lambda path: path.write_bytes(b"PK\3\4broken"), "cannot read features"),
        ("a.npz", with_pickle, "cannot read features.*damaged, or holds Python objects, which are never read"),
        ("a.safetensors", lambda path: path.write_bytes(b"12345678{"), "cannot read features"),
        ("a.csv", lambda path: path.write_text("1,2,0.5\n3,4,1\n"), r"labels \(the last column is the label\), given 0.5$"),
        ("a.csv", lambda path: path.write_text("a,b,c\n1,2,0\n3,nan,1\n"), "feature 2 of sample 2, counted from 1, is nan"),
        ("a.csv", lambda path: path.write_text("1,NA,0\n3,4,1\n"), r"a\.csv': line 1, column 2: 'NA' is not a number; fill"),
        ("a.csv", lambda path: path.write_text("a,b,c\n\n1,2,0\n3,,1\n"), "line 4, column 2: '' is not a number; fill it in"),
        ("a.csv", lambda path: path.write_text(",a,b,c\n0,1,2,0\n"), r"first column has no name: an index .*index=False"),
        ("a.csv", lambda path: path.write_text("a,b,label\n1,10,20,0\n"), r"first column has no name: an index .*row\.names"),
        ("a.csv", lambda path: path.write_text("a,b,c,label\n1,0\n"), "first line names 4 columns, and the next has 2 cells"),
        ("a.csv", lambda path: path.write_text("1\n0\n"), "expected features and a label in each line"),
        ("a.csv", lambda path: path.write_text("1 2 0\n3 4 1\n"), "separate the cells by commas"),
        ("a.csv", lambda path: path.write_text("1,2,\n3,4,\n"), "column 3: '' .*leave out the comma at the end"),
        ("a.csv", lambda path: path.write_text("1,2,1e19\n3,4,1\n"), r"whole numbers as labels .*, given 1e\+19"),
        ("a.csv", lambda path: path.write_text(",0,1,2\n0,1,2,0\n"), r"line 1, column 1: '' is not a number; an index .*index=False"),
        ("a.csv", lambda path: path.write_text("Class,a,b\n0,1,2\n"), "the label, and that is 'b'; move 'Class' there"),
        ("a.csv", lambda path: path.write_text("y,a,b\n0,1,2\n"), "the label, and that is 'b'; move 'y' there"),
        ("a.csv", lambda path: path.write_text("target,a,b\n0,1,2\n"), "the label, and that is 'b'; move 'target' there"),
        ("a.csv", lambda path: path.write_text("x,y,target,b\n0,1,2,3\n"), "that is 'b'; move 'target' there"),
        ("a.csv", lambda path: path.write_text("0,1,2\n3,5,1\n"), "first line, 0,1,2, may be a sample or the .*header=False"),
        ("a.csv", lambda path: path.write_text("1,2\n-0.5,1\n"), "first line, 1,2, may be a sample or the columns' numbers"),
        ("a.csv", lambda path: path.write_text("0,1\n"), "first line, 0,1, may be a sample or the columns' numbers"),
        ("a.csv", lambda path: path.write_text("1,2,cat\n3,4,dog\n"), "line 1, column 3: 'cat' .*last column is the label, a whole"),
        ("a.csv", lambda path: path.write_text("a;b;c\n1;2;0\n"), "line 2, column 1: '1;2;0' .*separate the cells by commas"),
        ("a.csv", lambda path: path.write_text("1\t2\t0\n3\t4\t1\n"), "separate the cells by commas"),
        ("a.csv", lambda path: path.write_text("1,2,0\n# none\n3,1\n"), "line 3: expected 3 cells, .*given 2"),
        ("a.csv", lambda path: path.write_bytes(b"gr\xf6\xdfe,b,c\n1,2,0\n"), "expected text in UTF-8, given the byte 0xf6$"),
        ("a.csv", lambda path: path.write_text("x" * 200_000), "field larger than field limit"),
        ("a.csv", lambda path: path.write_text(""), "it holds no samples"),
        ("a.csv", lambda path: path.write_text("a,b,label\n"), "it holds no samples"),
        ("a.npz", lambda path: np.savez(path, x=X[:0], y=Y[:0]), r"expected samples, found none .* \(0, 4\)"),
        ("x.npy", lambda path: np.save(path, X), r"name both: 'dataset\.domains=\{A: \"x\.npy#x_labels\.npy\", \.\.\.\}'$"),
        ("x.npy#y.npy", lambda path: np.save(path, X), r"no file '[^']*/y\.npy'; its labels are in another file; name both"),
        ("a.npz", lambda path: np.savez(path, x=X, y=Y.astype(str)), "expected whole numbers as labels, given 1; number the classes"),
        ("a.npz#x,y", lambda path: np.savez(path, x=X, y=np.full(7, "mug")), "as labels, given mug; .* in dataset.classes"),
        ("a.npz", lambda path: np.savez(path, x=X, y=np.full(7, np.inf)), "expected whole numbers as labels, given inf$"),
        ("a.npz#x,y", lambda path: np.savez(path, x=X.astype(str), y=Y), "expected numbers as features, given 0.12"),
        ("a.npz", lambda path: np.savez(path, x=np.where(X[2, 3] == X, np.nan, X).T, y=Y), "feature 4 of sample 3, counted from 1, is nan"),
        ("a.npz", lambda path: np.savez(path, x=X, y=Y[:-1]), r"6 labels do not fit features of shape \(7, 4\)"),
        ("a.npz", lambda path: np.savez(path, x=X, z=X, y=Y), r"one matrix of features and one vector of labels, found x \(7, 4\), .*; name the two: a\.npz#KEY,KEY$"),
        ("a.npz", lambda path: np.savez(path, x=X, y=np.eye(4)[Y]), r"found x \(7, 4\), y \(7, 4\); y is one-hot: save the number of each sample's class"),
        ("a.npz", lambda path: np.savez(path, x=X.T, y=np.eye(4)[Y].T), "; y is one-hot: save the number"),
        ("a.npz#x,y", lambda path: np.savez(path, x=X, y=np.eye(4)[Y]), r"one label for each sample, found an array of shape \(7, 4\); save the number"),
        ("a.npz#x,y", lambda path: np.savez(path, x=X, y=X), r"one label for each sample, found an array of shape \(7, 4\); save a vector$"),
        ("a.npz", lambda path: np.savez(path, x=X.reshape(7, 2, 2), y=Y), r"found x \(7, 2, 2\), y \(7,\); flatten each sample of x to a row$"),
        ("a.mat", lambda path: savemat(path, {"x": X, "y": np.array([*"catdogs"], dtype=object)}), r"found x \(7, 4\); text, cells, .* are not read: .*; number the classes"),
        ("a.mat", lambda path: savemat(path, {"x": X, "y": [*"catdogs"]}), r"found x \(7, 4\); text, cells, structures, complex"),
        ("a.mat", lambda path: savemat(path, {"x": csc_array(X), "y": Y[:, None]}), r"found y \(7, 1\); .*sparse arrays are not read: save real"),
        ("a.npz", lambda path: np.savez(path, w=X.reshape(7, 2, 2), x=X, z=X, y=Y), "; name the two"),
        ("a.npz#x,q", lambda path: np.savez(path, x=X, y=Y), "'q' is not a key of a.npz"),
        ("a.npz#x", lambda path: np.savez(path, x=X, y=Y), "a.npz#x: expected two keys, #FEATURES,LABELS; given 1"),
        ("a.csv#x", lambda path: path.write_text("a,b\n1,2\n"), "'x' is not a key of a.csv"),
        ("a.npz#x,y,z", lambda path: np.savez(path, x=X, y=Y, z=Y), "expected two keys"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, place: str, write: Any, message: str) -> None:
    if write is not None:
        write(tmp_path / place.partition("#")[0])
    with pytest.raises(UsageError, match=message) as raised:
        read(tmp_path, place)
    assert "\n" not in str(raised.value)
