from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import Entry, Host, HostId, KvmHost, ZoneId, ZoneState, zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Key, Schema, Store, TableMeta, Tx
from cairn.kernel.store.dump import Content, restore, verify, write_dump
from cairn.kernel.store.record import Record
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.testing.clock import VirtualClock

HEADS = {"cairn": "cairn_0007", "audit": "audit_0001"}
SCHEMA = sample.schema()


def nobody(table: str, rows: int) -> None:
    """Nobody is told of progress."""


async def database(path: Path, *fill: Callable[[Tx], object]) -> SqliteDriver:
    store = await Store.open(path, SCHEMA, VirtualClock(), inline=True, create_tables=True)
    for fn in fill:
        await store.write(fn)
    await store.close()
    return SqliteDriver(path)


def some(tx: Tx) -> None:
    tx.insert_many(zone(number, name=f"zöne {number}") for number in range(2500))
    tx.insert(
        zone(9999, description=None, photo=b"\0\xff{[", load=0.1, open=False, secret='ü\n"', state=ZoneState.DISABLED)
    )
    tx.insert(Host(uuid=HostId("h"), name="h", hypervisor_type="KVM", zone_uuid=ZoneId("z1"), memory=1 << 62))
    tx.insert(KvmHost(uuid=HostId("h"), username="root", gateway_uuid=HostId("h")))


def counted(tx: Tx) -> None:
    tx.insert_many([Entry(text="1"), Entry(text="2"), Entry(text="3")])
    tx.delete(Entry, 3)


async def rows_of(path: Path) -> dict[str, list[Record]]:
    store = await Store.open(path, SCHEMA, VirtualClock(), inline=True)
    found: dict[str, list[Record]] = await store.read(
        lambda tx: {table: tx.find(one.record, order_by=one.key.name) for table, one in SCHEMA.by_table.items()}
    )
    await store.close()
    return found


def dump(driver: SqliteDriver, file: Path, *, heads: dict[str, str] = HEADS, version: str = "1.0") -> Content:
    return write_dump(file, driver, SCHEMA, version=version, created="2026-01-01", heads=heads, progress=nobody)


def left(folder: Path) -> list[str]:
    """Files that were begun."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def fill(file: Path, driver: SqliteDriver, *, force: bool = False) -> Content:
    content = verify(file, HEADS, SCHEMA)
    restore(file, content, driver, SCHEMA, force=force, progress=nobody)
    return content


@pytest.mark.parametrize("name", ["all.dump", "all.dump.gz"])
async def test_what_was_dumped_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    source = await database(tmp_path / "a.db", some, counted)
    told: list[tuple[str, int]] = []

    written = write_dump(
        tmp_path / name,
        source,
        SCHEMA,
        version="1.0",
        created="2026-01-01",
        heads=HEADS,
        progress=lambda table, rows: told.append((table, rows)),
    )
    read = fill(tmp_path / name, await database(tmp_path / "b.db"))

    assert await rows_of(tmp_path / "b.db") == await rows_of(tmp_path / "a.db")
    assert read == written
    assert read.end.rows["zone"] == 2501
    assert [one for one in told if one[0] == "zone"] == [("zone", 1000), ("zone", 2000), ("zone", 2501)]
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert left(tmp_path) == []


async def test_numbers_of_rows_that_are_gone_are_not_given_again(tmp_path: Path) -> None:
    dump(await database(tmp_path / "a.db", counted), tmp_path / "d")
    fill(tmp_path / "d", await database(tmp_path / "b.db"))

    await database(tmp_path / "b.db", lambda tx: tx.insert(Entry(text="next")))

    assert [row.number for row in (await rows_of(tmp_path / "b.db"))["entry"] if isinstance(row, Entry)] == [1, 2, 4]


async def test_a_database_with_rows_is_filled_only_by_force_and_then_has_nothing_else(tmp_path: Path) -> None:
    dump(await database(tmp_path / "a.db", some), tmp_path / "d")
    target = await database(tmp_path / "b.db", lambda tx: tx.insert(zone(1, name="mine")), counted)
    before = await rows_of(tmp_path / "b.db")

    with pytest.raises(CairnError, match="zone") as caught:
        fill(tmp_path / "d", target)
    assert caught.value.code == "dump.not-empty"
    assert await rows_of(tmp_path / "b.db") == before

    fill(tmp_path / "d", target, force=True)
    assert await rows_of(tmp_path / "b.db") == await rows_of(tmp_path / "a.db")


async def test_what_the_database_refuses_leaves_it_as_it_was(tmp_path: Path) -> None:
    dump(await database(tmp_path / "a.db", some), tmp_path / "d")
    target = await database(tmp_path / "b.db", counted)
    before = await rows_of(tmp_path / "b.db")
    content = verify(tmp_path / "d", HEADS, SCHEMA)
    lines = (tmp_path / "d").read_bytes().splitlines(keepends=True)
    twice = next(at for at, line in enumerate(lines) if line.startswith(b'["z'))
    (tmp_path / "d").write_bytes(b"".join([*lines[:twice], lines[twice], *lines[twice:]]))  # after it was verified

    with pytest.raises(Exception, match="UNIQUE"):
        restore(tmp_path / "d", content, target, SCHEMA, force=True, progress=nobody)

    assert await rows_of(tmp_path / "b.db") == before


def without(part: bytes) -> Callable[[list[bytes]], list[bytes]]:
    return lambda lines: [line for line in lines if part not in line]


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda lines: lines[:-1], "its end is missing"),
        (lambda lines: [b"".join(lines)[:-30]], "cut off"),
        (lambda lines: [], "its end is missing"),
        (without(b"z7"), "not those that it was written with"),
        (lambda lines: [line.replace(b"zone 1", b"zone 2") for line in lines], "not those that it was written with"),
        (lambda lines: [*lines, b"[]\n"], "behind its end"),
        (lambda lines: [*lines[:2], b"[1]\n", *lines[2:]], "has not the columns"),
        (lambda lines: [*lines[:2], b"[nonsense]\n", *lines[2:]], "is no row"),
        (lambda lines: [*lines[:2], b"nonsense\n", *lines[2:]], "is none of a dump"),
        (lambda lines: [lines[0].replace(b"cairn dump 1", b"cairn dump 2"), *lines[1:]], "does not say"),
        (lambda lines: [line.replace(b'"username"', b'"user"') for line in lines], "is not as this cairn has it"),
        (lambda lines: [b"SQLite format 3\n"], "is none of a dump"),
    ],
)
async def test_a_damaged_file_is_refused_before_anything_is_written(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], what: str
) -> None:
    def fill_it(tx: Tx) -> None:
        tx.insert_many(zone(number) for number in range(10))

    dump(await database(tmp_path / "a.db", fill_it), tmp_path / "d")
    (tmp_path / "d").write_bytes(b"".join(damage((tmp_path / "d").read_bytes().splitlines(keepends=True))))

    with pytest.raises(CairnError, match=what) as caught:
        verify(tmp_path / "d", HEADS, SCHEMA)
    assert caught.value.code == "dump.damaged"


@pytest.mark.parametrize("part", [20, 0.5, -1])
async def test_a_packed_file_that_was_cut_off_is_damaged(tmp_path: Path, part: float) -> None:
    dump(await database(tmp_path / "a.db", some), tmp_path / "d.gz")
    whole = (tmp_path / "d.gz").read_bytes()
    (tmp_path / "d.gz").write_bytes(whole[: int(part) if abs(part) >= 1 else int(len(whole) * part)])

    with pytest.raises(CairnError) as caught:
        verify(tmp_path / "d.gz", HEADS, SCHEMA)
    assert caught.value.code == "dump.damaged"


@pytest.mark.parametrize(
    ("heads", "code", "what"),
    [
        (
            {**HEADS, "cairn": "cairn_0006"},
            "dump.other-version",
            "cairn: the dump has cairn_0006, this cairn cairn_0007",
        ),
        ({**HEADS, "boats": "boats_0001"}, "dump.plugin-missing", "boats"),
    ],
)
async def test_a_dump_of_other_tables_is_refused_with_what_to_do(
    tmp_path: Path, heads: dict[str, str], code: str, what: str
) -> None:
    dump(await database(tmp_path / "a.db"), tmp_path / "d", heads=heads, version="0.9")

    with pytest.raises(CairnError, match=what) as caught:
        verify(tmp_path / "d", HEADS, SCHEMA)
    assert caught.value.code == code
    assert "0.9" in caught.value.message or code != "dump.other-version"


async def test_a_file_is_not_overwritten_and_one_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    source = await database(tmp_path / "a.db")
    dump(source, tmp_path / "d")

    with pytest.raises(CairnError) as there:
        dump(source, tmp_path / "d")
    with pytest.raises(CairnError) as missing:
        fill(tmp_path / "e", source)
    assert (there.value.code, missing.value.code) == ("dump.file-exists", "dump.no-file")


async def test_a_dump_that_fails_leaves_no_file(tmp_path: Path) -> None:
    source = await database(tmp_path / "a.db", some)

    def full(table: str, rows: int) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_dump(tmp_path / "d", source, SCHEMA, version="1", created="", heads=HEADS, progress=full)
    assert left(tmp_path) == []
    assert not (tmp_path / "d").exists()


async def test_what_is_about_the_very_database_is_in_no_dump_and_does_not_count(tmp_path: Path) -> None:
    class Lease(Record, frozen=True, kw_only=True):
        meta: ClassVar[TableMeta] = TableMeta(table="lease", local=True)

        uuid: Annotated[str, Key()]

    schema = Schema([*SCHEMA.records, Lease])
    drivers = []
    for name in ("a", "b"):
        store = await Store.open(tmp_path / name, schema, VirtualClock(), inline=True, create_tables=True)
        await store.write(lambda tx, name=name: tx.insert(Lease(uuid=name)))  # type: ignore[misc]
        await store.close()
        drivers.append(SqliteDriver(tmp_path / name))

    content = write_dump(tmp_path / "d", drivers[0], schema, version="1", created="", heads=HEADS, progress=nobody)
    restore(tmp_path / "d", verify(tmp_path / "d", HEADS, schema), drivers[1], schema, force=False, progress=nobody)

    assert "lease" not in content.end.rows
    store = await Store.open(tmp_path / "b", schema, VirtualClock(), inline=True)
    assert [row.uuid for row in await store.read(lambda tx: tx.find(Lease))] == ["b"]
    await store.close()


async def test_each_line_is_json_for_other_tools(tmp_path: Path) -> None:
    dump(await database(tmp_path / "a.db", some), tmp_path / "d.gz")

    lines: list[Any] = [
        msgspec.json.decode(line) for line in gzip.decompress((tmp_path / "d.gz").read_bytes()).splitlines()
    ]

    assert lines[0]["format"] == "cairn dump 1"
    assert lines[0]["records"]["zone"] == "Zone"
    assert {line["table"] for line in lines[1:-1] if isinstance(line, dict)} == set(SCHEMA.by_table)
    assert lines[-1]["rows"]["kvm_host"] == 1
