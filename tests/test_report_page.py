"""The page: what it holds, that nothing in a record can break out of it, and what a real browser makes of it."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tda import embedding, report
from tda.__main__ import main
from tda.cache import digest
from tda.report import drawing, figures, html, markup, statistics
from tda.store import Record, Store, Stores
from tests.browser import Page, browsing, chromium
from tests.test_store import record

HOSTILE = "<script>alert('x')</script>&\"'$a_b$"
TASKS = ("A-B", "B-A", "A-C", "C-A")
METHODS = {"source_only": 60, "dann": 70, "mcc": 75}


def cells(label: str = "DANN <b>$x$</b>") -> list[Record]:
    """Every kind of thing that a record can hold, for three methods, four tasks and two seeds."""
    made = []
    for method, level in METHODS.items():
        for i, task in enumerate(TASKS):
            for seed in (0, 1):
                right = level // 5 + i + seed
                config = {"method": {"name": method}, "task": task, "trainer": {"seed": seed}}
                made.append(
                    record(
                        key=digest(config), setting=method, dataset="shapes", task=task, source=task[0], target=task[2],
                        backbone="lenet", method=method, label=label if method == "dann" else method,
                        baseline=None if method == "source_only" else "source_only", seed=seed, config=config,
                        accuracy=100 * right / 20, accuracy_per_class={"round": 90.0, "square": 10.0 * (right - 9)},
                        confusion=[(0, 0, 9), (0, 1, 1), (1, 0, 19 - right), (1, 1, right - 9)], scored=20,
                        curve=[(10, 40.0), (20, 100 * right / 20)], oracle_best=100 * right / 20,
                        distances={"mmd2": 0.01 * right}, seconds=1.0 + i, commit="0123456789ab",
                        versions={"python": "3.11.0", "torch": "2.9.0"},
                    )
                )  # fmt: skip
    return made


def stored(folder: Path, records: list[Record]) -> Store:
    store = Store(folder)
    for one in records:
        store.put(one)
    report.write(records, folder / "tables", "shapes", "tda run method=dann,mcc 'seed=range(2)'")
    rng = np.random.default_rng(0)
    domains = rng.normal(size=(15, 5)), rng.normal(size=(12, 5)) + 1
    labels = rng.integers(2, size=15), rng.integers(2, size=12)
    kept = next(one for one in records if one.method == "mcc")
    embedding.keep(store.embedding(*kept.address), domains, domains, labels)
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    broken = record(
        key=digest({"x": 1}), config={"x": 1}, setting="tca", dataset="shapes", task="A-B", source="A", target="B",
        backbone="lenet", method="tca", label=HOSTILE, status="failed", accuracy=None, accuracy_per_class=None,
        error=f"LinAlgError: {HOSTILE}", traceback=f"Traceback\n{HOSTILE}",
    )  # fmt: skip
    stored(path, [*cells(HOSTILE), broken])
    assert main(["report", "--results", str(path), "--html", str(path / "report.html")]) == 0
    return path


class Parsed(HTMLParser):
    """Element names, ids, texts and attribute values of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_one_file_that_asks_for_nothing(folder: Path) -> None:
    page = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert not {"iframe", "object", "base"} & set(page.tags)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links if link[:1] == "#"} <= set(page.ids)


def test_what_records_hold_stays_text(folder: Path) -> None:
    page = Parsed((folder / "report.html").read_text(encoding="utf-8"))
    assert page.text.count(HOSTILE) >= 2
    assert f"LinAlgError: {HOSTILE}" in page.text


def test_every_section_is_there(folder: Path) -> None:
    page = " ".join(Parsed((folder / "report.html").read_text(encoding="utf-8")).text)
    for heading, _ in html.SECTIONS.values():
        assert heading in page
    assert "tda run method=dann,mcc 'seed=range(2)'  # 25 cells" in page
    assert "0123456789ab" in page
    assert "selection: last" in page
    assert "1 cell failed" in page


def test_numbers_in_the_text_of_a_figure_keep_their_digits() -> None:
    drawn = Figure()
    axes = drawn.subplots()
    axes.plot([0, 1 / 3], [0, 0.0025])
    axes.set(yticks=[0, 0.0025], title="DANN (weight=0.0001)")
    shown = markup.svg(drawing.Shown("curves", "x", "x", "x", "x", drawn), "x", "")
    assert {"0.0025", "DANN (weight=0.0001)"} <= {text.strip() for text in Parsed(shown).text}
    assert not re.search(r"<path[^>]*\d\.\d{3}", shown)


def test_the_page_is_the_same_however_often_it_is_made(tmp_path: Path) -> None:
    few = [one for one in cells() if one.task == "A-B"]
    store = stored(tmp_path, few)
    assert html.page(few, store, "x") == html.page(few, store, "x")


def test_one_record_is_enough(tmp_path: Path) -> None:
    page = html.page([record()], Store(tmp_path), "tda report")
    assert "TCA" in page
    assert "keep_features=true" in page


def test_a_section_of_nothing_has_no_heading_and_what_is_shown_is_not_missing(tmp_path: Path) -> None:
    config = {"validation": {"held": 0.2}}
    alone = record(key=digest(config), config=config, scores={"entropy": [[0, 0.5]]}, distances={"a_distance": 1.25})
    page = " ".join(Parsed(html.page([alone], Store(tmp_path), "x")).text)
    assert "Chosen without target labels" not in page
    assert "at least two candidates that validators have judged" in page
    assert "distance between the domains (" not in page
    assert "cell 1 dataset 1 task 1 configuration 1 failed cells 0 of computing" in " ".join(page.split())
    assert "a_distance: how far apart the method leaves the two domains" in page
    assert "1.25" in page


def test_a_record_of_no_table_says_itself_what_runs_it_again(tmp_path: Path) -> None:
    page = html.page([record(), record(task="O-S", command="tda run 'a=<b>'")], Store(tmp_path), "x")
    said = " ".join(" ".join(Parsed(page).text).split())
    assert "Of 2 cells no table there says which command made them" in said
    assert "The records of 1 say what runs each alone again; the first: tda run 'a=<b>'" in said


def test_the_commands_of_every_results_folder_are_told(tmp_path: Path) -> None:
    parts = {name: [one for one in cells() if one.method == name] for name in ("dann", "mcc")}
    for name, made in parts.items():
        report.write(made, tmp_path / name / "tables", name, f"tda run method={name}")
    store = Stores([tmp_path / name for name in parts])
    said = " ".join(Parsed(html.page([one for made in parts.values() for one in made], store, "x")).text)
    assert "tda run method=dann  # 8 cells" in said
    assert "tda run method=mcc  # 8 cells" in said
    assert "no table there says" not in said


def test_more_than_a_page_can_hold_is_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "ROWS", 2)
    monkeypatch.setattr(figures, "PANELS", 3)
    text = " ".join(Parsed(html.page(cells("DANN"), stored(tmp_path, cells("DANN")), "x")).text)
    assert "2 of 3 rows" in text
    assert "3 of 4 tasks" in text


def test_a_class_that_was_added_later_has_its_place_in_the_confusions() -> None:
    older, *_ = cells()
    wider = replace(
        older, accuracy_per_class={"angular": 100.0, "round": 90.0, "square": 0.0}, confusion=[(0, 0, 5), (1, 2, 1)]
    )
    for records in ([older, wider], [wider, older]):
        names, counts = figures.confusion_matrix(records)
        assert names == ["angular", "round", "square"]
        right = older.confusion[3][2] if older.confusion else 0
        assert counts.tolist() == [[5, 0, 0], [0, 9, 2], [0, 10 - right, right]]


def test_figures_are_written_as_svg_and_png(tmp_path: Path) -> None:
    stored(tmp_path, cells())
    assert main(["report", "--results", str(tmp_path), "--figures", str(tmp_path / "drawn")]) == 0
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    expected = {"heat-map", "critical-difference", "curve-A-B", "confusion-C-A", "classes", "tsne-A-B", "times"}
    assert {f"shapes-{name}.{suffix}" for name in expected for suffix in ("svg", "png")} <= names
    assert (tmp_path / "drawn" / "shapes-times.png").read_bytes()[:4] == b"\x89PNG"
    assert "target accuracy, %" in (tmp_path / "drawn" / "shapes-curve-A-B.svg").read_text(encoding="utf-8")


def test_long_names_of_domains_have_room(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    north, south = "photographs_from_the_north", "drawings_by_children"
    long = [
        replace(one, task=f"{north}-{south}", source=north, target=south, key=digest(config), config=config)
        for one in cells("DANN")
        if one.task == "A-B"
        for config in [one.config | {"task": f"{north}-{south}"}]
    ]
    stored(tmp_path, long)
    assert main(["report", "--results", str(tmp_path), "--figures", str(tmp_path / "drawn")]) == 0
    assert [str(one.message) for one in recwarn if "constrained_layout" in str(one.message)] == []


def test_a_figure_says_in_words_what_it_shows(tmp_path: Path) -> None:
    (table,) = report.tables(cells("DANN"))
    drawn = {
        one.name: one for one in figures.figures(table, statistics.statistics(table), cells("DANN"), Store(tmp_path))
    }
    assert "mcc 1.00, DANN 2.00, source_only 3.00" in drawn["shapes-critical-difference"].alt
    assert "at the last step: mcc 77.5, DANN 72.5, source_only 62.5" in drawn["shapes-curve-A-B"].alt
    assert "rank correlation over all points: 1.00" in drawn["shapes-distance-mmd2"].caption
    assert "from 1 (" in drawn["shapes-times"].alt or "2.5" in drawn["shapes-times"].alt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--html", "/dev/null/x.html"], "cannot write"),
        (["--figures", "/dev/null/x"], "cannot write"),
        (["--html", "a.html", "--output", "b"], "leave out --output"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(tmp_path).put(replace(cells()[0]))
    assert main(["report", "--results", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if chromium() is None:
        pytest.skip("needs Chromium")
    with browsing(tmp_path_factory.mktemp("profile")) as page:
        yield page


class TestInABrowser:
    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_is_shown_whole_and_asks_nothing(self, width: int, scheme: str, folder: Path, browser: Page) -> None:
        browser.open(folder / "report.html", width, scheme)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        assert browser.said("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled") == []
        asked = [event["request"]["url"] for event in browser.said("Network.requestWillBeSent")]
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert browser.evaluate("document.querySelectorAll('figure svg').length") >= 15
        assert browser.evaluate(
            "[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().width > 100)"
        )
        paper = [
            int(part)
            for part in re.findall(r"\d+", browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        ]
        assert (sum(paper) < 150) == (scheme == "dark")
        browser.screenshot(folder / f"{width}-{scheme}.png")
        assert (folder / f"{width}-{scheme}.png").stat().st_size > 20_000

    def test_text_can_be_read_in_both_schemes(self, folder: Path, browser: Page) -> None:
        for scheme in ("light", "dark"):
            browser.open(folder / "report.html", 1280, scheme)
            for selector in ("body", "figcaption", "td .best", "a", ".bad", "svg text"):
                colours = browser.evaluate(
                    f"(() => {{ const s = getComputedStyle(document.querySelector({selector!r}));"
                    " return [s.fill !== 'rgb(0, 0, 0)' ? s.fill : s.color,"
                    " getComputedStyle(document.body).backgroundColor]; })()"
                )
                assert contrast(*colours) > 4.5, (scheme, selector, colours)

    def test_a_click_on_a_heading_sorts(self, folder: Path, browser: Page) -> None:
        browser.open(folder / "report.html", 1280)
        head = "document.querySelector('table').tHead.rows[0].cells[1]"
        column = "[...document.querySelector('table').tBodies[0].rows].map(r => Number(r.cells[1].dataset.value || -1))"
        browser.evaluate(f"{head}.querySelector('button').click()")
        down = browser.evaluate(column)
        assert down == sorted(down, reverse=True)
        assert browser.evaluate(f"{head}.getAttribute('aria-sort')") == "descending"
        browser.evaluate(f"{head}.querySelector('button').click()")
        assert browser.evaluate(column) == down[::-1]


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two CSS colours, 1 to 21 (WCAG 2.1)."""

    def luminance(colour: str) -> float:
        parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    dark, bright = sorted([luminance(first), luminance(second)])
    return (bright + 0.05) / (dark + 0.05)
