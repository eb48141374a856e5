"""Records are whole or absent, and a file that is no record is named and passed over."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tda.cache import atomic, built, digest
from tda.errors import UsageError
from tda.store import Record, Store, mixed

CONFIG = {"method": {"dim": 30}}


def record(**changes: Any) -> Record:
    fields: dict[str, Any] = {
        "key": digest(CONFIG), "setting": "s", "dataset": "digits", "source": "O", "target": "P", "task": "O-P",
        "backbone": "pixels", "method": "tca", "label": "TCA", "baseline": "one_nn", "seed": None, "protocol": "last",
        "status": "ok", "accuracy": 50.0, "accuracy_per_class": {"0": 50.0}, "curve": None, "oracle_best": None, "distances": {}, "scored": 10, "data": {}, "skipped": [], "seconds": 0.1,
        "error": None, "traceback": None, "config": CONFIG, "versions": {}, "commit": None,
        "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Record(**(fields | changes))


def test_round_trip(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = record(label="TCA – ü")
    store.put(kept)
    assert store.get("digits", "tca", "O-P", kept.key) == kept
    assert store.get("digits", "tca", "O-P", "another") is None
    assert list(store.all()) == [kept]
    assert os.listdir(tmp_path / "records" / "digits" / "tca") == [f"O-P-{kept.key}.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", json.dumps(asdict(record())).encode()[:200],
     json.dumps(asdict(record()) | {"format": 99}).encode(), json.dumps({"format": 1}).encode(),
     json.dumps(asdict(record()) | {"more": 1}).encode()],
)  # fmt: skip
def test_a_file_that_is_no_record_is_named_and_passed_over(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    store.put(record())
    bad = store.path("digits", "tca", "O-S", "bad")
    bad.write_bytes(content)
    assert list(store.all()) == [record()]
    assert "O-S-bad.json is skipped" in caplog.text
    assert bad.read_bytes() == content
    assert store.get("digits", "tca", "O-S", "bad") is None
    assert not bad.exists()
    assert (tmp_path / "set-aside" / "digits" / "tca" / "O-S-bad.0.json").read_bytes() == content


def test_a_key_survives_the_way_through_json() -> None:
    config = {"domains": {2: "a", 10: "b"}, "lr": 1.0, "pair": [1, 2.5]}
    assert digest(json.loads(json.dumps(config))) == digest(config)


def test_what_is_set_aside_replaces_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    bad = store.path("digits", "tca", "O-S", "bad")
    for content in ("one", "two"):
        bad.parent.mkdir(parents=True, exist_ok=True)
        bad.write_text(content)
        assert store.get("digits", "tca", "O-S", "bad") is None
    assert [path.read_text() for path in sorted((tmp_path / "set-aside").rglob("*.json"))] == ["one", "two"]


def test_records_of_other_data_are_counted_and_a_copy_is_no_reason_to_delete_them() -> None:
    config = {"dataset": {"size": 256}}
    one, two = (
        record(config=config, data={"O": o, "P": "p"}, created=f"2026-01-0{day}") for day, o in ((1, "a"), (2, "b"))
    )
    (said,) = mixed([one, two, two])
    assert said.startswith(
        "digits O: 1 of 3 records were made from other files, or files with other times, the last on 2026-01-01; if what "
        "the files hold has changed, delete those records"
    )
    assert mixed([two, two]) == []
    assert mixed([one, record(config={"dataset": {"size": 32}}, data={"O": "c"})]) == []


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half of the ne")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_cache_is_built_once(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "cache"
    assert built(path, lambda to: to.write_bytes(b"built")).read_text() == "built"
    assert built(path, lambda to: pytest.fail("built again")).read_text() == "built"


def test_unwritable_results(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another with results=PATH"):
        Store(tmp_path / "file").check_writable()
    Store(tmp_path / "new").check_writable()
    assert list((tmp_path / "new" / "records").iterdir()) == []
