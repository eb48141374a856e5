import csv
from pathlib import Path

import pandas as pd
import pytest

from tda import reported, resources
from tda.errors import UsageError

# Office-31 A-W in the textbook (seed 001), by the line that states it.
BOOK = {
    2293: ("one_nn", "alexnet_fc6", 48.18, "last"),
    2298: ("one_nn_standardised", "alexnet_fc6", 50.44, "last"),
    3260: ("kmm", "alexnet_fc6", 50.57, "unknown"),
    4580: ("tca", "resnet50", 68.1, "unknown"),
    5232: ("coral", "resnet50", 76.3, "last"),
    5816: ("finetune", "resnet50 end to end", 72.8, "unknown"),
    6443: ("ddc", "resnet50 end to end", 78.8, "oracle"),
    7030: ("dann", "resnet50 end to end", 82.0, "oracle"),
}
WEBCAM = 795

ROW = {
    "dataset": "office31",
    "task": "A-W",
    "method": "tca",
    "label": "TCA",
    "features": "resnet50",
    "accuracy": "68.1",
    "protocol": "last",
    "runs": "1",
    "origin": "external",
    "source": "A paper, Table 1",
    "note": "",
}


def write(folder: Path, *rows: dict[str, str], columns: tuple[str, ...] = reported.COLUMNS) -> Path:
    with (folder / "paper.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, columns, extrasaction="ignore")
        lines.writeheader()
        lines.writerows(rows)
    return folder


def table(average: str, **cells: str) -> list[dict[str, str]]:
    """A published table row over the two tasks A-W and W-A, and its average."""
    accuracies = {"A-W": "60.0", "W-A": "50.1", "avg": average}
    return [{**ROW, **cells, "task": task, "accuracy": accuracy} for task, accuracy in accuracies.items()]


@pytest.fixture(scope="module")
def shipped() -> pd.DataFrame:
    return reported.load()


@pytest.fixture(scope="module")
def book(shipped: pd.DataFrame) -> pd.DataFrame:
    return shipped[shipped["source"].str.contains("textbook (seed 001)", regex=False)]


@pytest.fixture(scope="module")
def book_and_companion(shipped: pd.DataFrame) -> pd.DataFrame:
    return shipped[shipped.index.str.startswith("textbook")]


def test_the_files_of_the_project_load(shipped: pd.DataFrame) -> None:
    assert list(shipped.columns) == list(reported.COLUMNS)
    assert shipped["accuracy"].dtype == "float64"
    assert shipped["runs"].dtype == "Int64"
    assert {"textbook.csv", "textbook_companion.csv"} <= {place.split(",")[0] for place in shipped.index}


def test_the_book_reports_eight_accuracies_on_a_w(book: pd.DataFrame) -> None:
    assert (book["task"] == "A-W").sum() == len(BOOK)
    assert set(book["origin"]) == {"seed"}
    for line, expected in BOOK.items():
        row = book[book["source"].str.endswith(f"; line {line}")]
        assert row[["method", "features", "accuracy", "protocol"]].to_numpy().tolist() == [list(expected)]
        assert row[["dataset", "task"]].to_numpy().tolist() == [["office31", "A-W"]]


def test_the_book_shows_four_averages_on_office_home(book: pd.DataFrame) -> None:
    home = book[book["dataset"] == "office_home"]
    assert dict(zip(home["method"], home["accuracy"], strict=True)) == {
        "dann": 57.6,
        "jan": 58.3,
        "meda": 60.2,
        "daan": 61.8,
    }
    assert set(home["task"]) == {"avg"}
    assert set(home["features"]) == {""}


@pytest.mark.parametrize(
    ("accuracy", "count"),
    [(48.18, 383), (50.44, 401), (50.57, 402), (74.59, 593), (74.72, 594), (76.10, 605), (76.35, 607)],
)
def test_two_decimals_are_whole_webcam_images(book_and_companion: pd.DataFrame, accuracy: float, count: int) -> None:
    row = book_and_companion[book_and_companion["accuracy"] == accuracy]
    assert len(row) == 1
    assert 100 * count / WEBCAM == pytest.approx(accuracy, abs=0.005)
    assert row["note"].str.startswith(f"{count}/{WEBCAM} = ").all()


@pytest.mark.parametrize("accuracy", [76.3, 78.8])
def test_two_accuracies_are_no_rounded_count(book: pd.DataFrame, accuracy: float) -> None:
    assert accuracy not in {round(100 * count / WEBCAM, 1) for count in range(WEBCAM + 1)}
    notes = book.loc[book["accuracy"] == accuracy, "note"]
    assert notes.str.startswith(f"no k/{WEBCAM} rounds to {accuracy}").tolist() == [True]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"accuracy": "100.5"}, "accuracy is '100.5'"),
        ({"accuracy": "-1"}, "accuracy is '-1'"),
        ({"accuracy": "nan"}, "accuracy is 'nan'"),
        ({"accuracy": ""}, "accuracy is ''"),
        ({"accuracy": "about 82"}, "accuracy is 'about 82'"),
        ({"protocol": "best"}, "protocol is 'best'; choose from: last, oracle, unknown"),
        ({"origin": ""}, "origin is ''; choose from: seed, external"),
        ({"task": "A->W"}, "task is 'A->W'"),
        ({"task": "average"}, "task is 'average'"),
        ({"runs": "2.5"}, "runs is '2.5'"),
        ({"runs": "0"}, "runs is '0'"),
        ({"source": " "}, "source is empty"),
        ({"method": ""}, "method is empty"),
    ],
)
def test_a_bad_cell_is_named_by_file_and_line(tmp_path: Path, cells: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        reported.load(write(tmp_path, ROW, {**ROW, "task": "A-D", **cells}))
    assert str(error.value).startswith(f"paper.csv, line 3: {said}")
    assert "\n" not in str(error.value)


def test_the_line_is_that_of_the_file_after_a_note_of_two_lines_and_a_blank_line(tmp_path: Path) -> None:
    folder = write(tmp_path, {**ROW, "note": "one\ntwo"})
    with (folder / "paper.csv").open("a", encoding="utf-8") as file:
        file.write("\noffice31,A-D,tca,TCA\n")
    with pytest.raises(UsageError, match=r"^paper\.csv, line 5: 4 cells where 11 are expected"):
        reported.load(folder)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    columns = tuple(column for column in reported.COLUMNS if column != "protocol")
    with pytest.raises(UsageError, match=r"^paper\.csv, line 1: .*missing: protocol; not known: none$"):
        reported.load(write(tmp_path, ROW, columns=columns))


def test_an_empty_file_lacks_its_columns(tmp_path: Path) -> None:
    (tmp_path / "paper.csv").touch()
    with pytest.raises(UsageError, match=r"^paper\.csv, line 1: the columns must be"):
        reported.load(tmp_path)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    with (tmp_path / "paper.csv").open("ab") as file:
        file.write("归一化".encode("gbk"))
    with pytest.raises(UsageError, match=r"^paper\.csv, .*save the file as UTF-8"):
        reported.load(tmp_path)


def test_a_folder_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no reported accuracy"):
        reported.load(tmp_path)


def test_a_repeated_row_is_named_with_the_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^paper\.csv, line 4: .* repeats paper\.csv, line 2 "):
        reported.load(write(tmp_path, ROW, {**ROW, "task": "A-D"}, {**ROW, "accuracy": "70"}))


def test_a_row_repeated_in_another_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, ROW)
    (tmp_path / "copy.csv").write_bytes((tmp_path / "paper.csv").read_bytes())
    with pytest.raises(UsageError, match=r"^paper\.csv, line 2: .* repeats copy\.csv, line 2 "):
        reported.load(tmp_path)


def test_last_and_oracle_of_one_publication_stand_side_by_side(tmp_path: Path) -> None:
    assert len(reported.load(write(tmp_path, ROW, {**ROW, "protocol": "oracle", "accuracy": "70"}))) == 2


@pytest.mark.parametrize("average", ["55.0", "55.05", "55.1"])
def test_an_average_within_rounding_is_accepted(tmp_path: Path, average: str) -> None:
    assert len(reported.load(write(tmp_path, *table(average)))) == 3


def test_an_average_that_is_off_is_named_with_both_values(tmp_path: Path) -> None:
    folder = write(tmp_path, *table("55.0", method="jda"), *table("56.2"))
    with pytest.raises(UsageError, match=r"^paper\.csv, line 7: .* is 56\.2 but its 2 tasks have the mean 55\.05"):
        reported.load(folder)
    assert len(reported.load(folder, tolerance=2)) == 6


def test_an_average_over_tasks_that_are_not_all_given_is_not_checked(tmp_path: Path) -> None:
    extra = {**ROW, "task": "A-D"}
    assert len(reported.load(write(tmp_path, *table("90"), extra))) == 4


def test_names_that_look_like_missing_values_are_text(tmp_path: Path) -> None:
    row = {**ROW, "method": "NA", "label": "nan", "features": "", "runs": ""}
    loaded = reported.load(write(tmp_path, row)).loc["paper.csv, line 2"]
    assert (loaded["method"], loaded["label"], loaded["features"], loaded["note"]) == ("NA", "nan", "", "")
    assert loaded["runs"] is pd.NA


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    file = write(tmp_path, ROW) / "paper.csv"
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert reported.load(tmp_path)["dataset"].tolist() == ["office31"]


def test_resources_prefer_the_folder_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, checkout = tmp_path / "tda", tmp_path / "results" / "reported"
    checkout.mkdir(parents=True)
    monkeypatch.setattr(resources, "__file__", str(package / "resources.py"))
    assert resources.folder("reported") == checkout
    (package / "reported").mkdir(parents=True)
    assert resources.folder("reported") == package / "reported"
    with pytest.raises(FileNotFoundError, match=r"'conf' is neither at .*tda/conf nor at .*/conf;"):
        resources.folder("conf")
