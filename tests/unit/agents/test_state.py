from __future__ import annotations

import stat
from pathlib import Path

from msgspec import Struct

from cairn.agents.state import Record, Records


class Thing(Struct, frozen=True):
    name: str


def test_record_is_saved_secret_and_whole(tmp_path: Path) -> None:
    record = Record(tmp_path / "a" / "x.json", Thing)
    assert record.load() is None
    record.save(Thing("one"))
    record.save(Thing("two"))
    assert record.load() == Thing("two")
    assert stat.S_IMODE((tmp_path / "a" / "x.json").stat().st_mode) == 0o600
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.json"]
    for _ in range(2):
        record.remove()
    assert record.load() is None


def test_unreadable_record_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("garbage")
    assert Record(tmp_path / "x.json", Thing).load() is None
    assert (tmp_path / "x.unreadable").exists()


def test_records_are_listed_by_key(tmp_path: Path) -> None:
    records = Records(tmp_path / "things", Thing)
    assert list(records) == []
    for key in ("b", "a"):
        records.record(key).save(Thing(key))
    assert list(records) == [Thing("a"), Thing("b")]
