"""The key file, and databases that are older than their seals or their keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from sqlalchemy import bindparam, select, update

from cairn.kernel.clock import SystemClock
from cairn.kernel.error import CairnError
from cairn.kernel.store.address import database_at
from cairn.kernel.store.opening import connected, driver_at
from cairn.kernel.store.record import Index, Key, Record, Sealed, TableMeta, Text, info, table_of
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.seal import Seals
from cairn.kernel.store.sealing import SealedColumn, claim_key, open_seals, require_keys, rotate, seal_database
from cairn.kernel.store.store import Store, Tx
from cairn.testing.mariadb import shared_server

PASSWORD, KEY_TEXT = "correct horse", b"-----BEGIN-----"


class Login(Record, frozen=True, kw_only=True):
    """Something with secrets."""

    meta: ClassVar[TableMeta] = TableMeta(table="login")

    uuid: Annotated[str, Key()]
    password: Annotated[str | None, Sealed(), Text(1024)] = None
    key: Annotated[bytes, Sealed()] = b""


SCHEMA = Schema([Login, SealedColumn])
SELECT = select(table_of(Login).c.password)
UPDATE = update(table_of(Login)).values(password=bindparam("password"))


class Site:
    """A data folder."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "cairn.db"
        self.key_file = folder / "secret.key"

    async def run(self, fn: Callable[[Tx], object]) -> object:
        """One life of a node: keys, seals, database."""
        seals = open_seals(self.key_file, self.database)
        if self.database.exists():
            seal_database(self.database, SCHEMA, seals)
        store = await Store.open(self.database, SCHEMA, SystemClock(), create_tables=True, seals=seals)
        try:
            return await store.write(fn)
        finally:
            await store.close()

    def content(self) -> bytes:
        """All bytes on the disk, but for the key."""
        return b"".join(path.read_bytes() for path in self.database.parent.glob("cairn.db*"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def write(tx: Tx) -> None:
    tx.insert(Login(uuid="a", password=PASSWORD, key=KEY_TEXT))
    tx.insert_many([Login(uuid="b", password=PASSWORD), Login(uuid="c")])
    tx.update(Login, "c", key=KEY_TEXT)


def read(tx: Tx) -> list[tuple[str | None, bytes]]:
    return [(row.password, row.key) for row in tx.find(Login, order_by="uuid")]


WRITTEN = [(PASSWORD, KEY_TEXT), (PASSWORD, b""), (None, KEY_TEXT)]


async def test_secrets_are_readable_by_the_node_and_not_in_the_file(site: Site) -> None:
    await site.run(write)
    assert PASSWORD.encode() not in site.content() and KEY_TEXT not in site.content()
    assert await site.run(read) == WRITTEN


async def test_key_file_is_its_owner_s_only(site: Site) -> None:
    await site.run(write)
    assert site.key_file.stat().st_mode & 0o777 == 0o600
    site.key_file.chmod(0o640)
    with pytest.raises(CairnError, match="chmod 600") as found:
        open_seals(site.key_file, site.database)
    assert found.value.code == "secret.bad-key-file"


async def test_lost_key_is_said_in_words_and_no_new_one_is_made(site: Site) -> None:
    await site.run(write)
    await site.run(read)
    content = site.key_file.read_text()
    site.key_file.unlink()
    for _ in range(2):
        with pytest.raises(CairnError, match=str(site.key_file)) as found:
            open_seals(site.key_file, site.database)
        assert found.value.code == "secret.key-missing"
    site.key_file.write_text(content)
    site.key_file.chmod(0o600)
    assert await site.run(read) == WRITTEN


async def test_wrong_key_is_refused(site: Site, tmp_path: Path) -> None:
    await site.run(write)
    await site.run(read)
    (tmp_path / "other").mkdir()
    other = Site(tmp_path / "other")
    open_seals(other.key_file, other.database)
    other.key_file.replace(site.key_file)
    with pytest.raises(CairnError) as found:
        open_seals(site.key_file, site.database)
    assert found.value.code == "secret.key-missing"


@pytest.mark.parametrize("content", ["", "not base64!\n", "AAAA\n", "\xff"])
async def test_damaged_key_file_is_named(site: Site, content: str) -> None:
    site.key_file.write_text(content, encoding="latin-1")
    site.key_file.chmod(0o600)
    with pytest.raises(CairnError) as found:
        open_seals(site.key_file, site.database)
    assert found.value.code == "secret.bad-key-file"


async def test_database_from_before_seals_is_sealed_and_leaves_nothing_in_clear(site: Site) -> None:
    await site.run(lambda tx: None)
    with closing(sqlite3.connect(site.database)) as connection:
        connection.execute("DELETE FROM sealed_column")
        for number in range(500):
            values = (f"u{number:04}", PASSWORD, KEY_TEXT)
            connection.execute("INSERT INTO login (uuid, password, key) VALUES (?, ?, ?)", values)
        connection.execute("INSERT INTO login (uuid, password, key) VALUES ('z', NULL, ?)", (KEY_TEXT,))
        connection.execute("DELETE FROM login WHERE uuid < 'u0100'")  # left behind in free pages
        connection.commit()
    assert PASSWORD.encode() in site.content()
    rows = await site.run(read)
    assert rows == [(PASSWORD, KEY_TEXT)] * 400 + [(None, KEY_TEXT)]
    assert PASSWORD.encode() not in site.content() and KEY_TEXT not in site.content()


async def test_new_key_seals_everything_anew_once(site: Site) -> None:
    await site.run(write)
    await site.run(read)
    old = site.key_file.read_text()
    new = rotate(site.key_file)
    assert await site.run(read) == WRITTEN
    assert site.key_file.read_text().endswith(old), "the former key opens backups"
    seals = open_seals(site.key_file, site.database)
    assert seals.current.id == new
    assert seal_database(site.database, SCHEMA, seals) == 0
    site.key_file.write_text(site.key_file.read_text().splitlines()[0] + "\n")
    assert await site.run(read) == WRITTEN, "nothing needs the former key any more"


async def test_sealing_goes_on_after_a_crash_between_two_values(site: Site) -> None:
    await site.run(write)
    rotate(site.key_file)
    seals = open_seals(site.key_file, site.database)
    with closing(sqlite3.connect(site.database)) as connection:
        (value,) = connection.execute("SELECT password FROM login WHERE uuid = 'a'").fetchone()
        anew = seals.seal_text(seals.open_text(value, "login.password"), "login.password")
        connection.execute("UPDATE login SET password = ? WHERE uuid = 'a'", (anew,))
        connection.commit()
    assert await site.run(read) == WRITTEN


async def test_value_that_somebody_wrote_in_clear_is_not_used(site: Site) -> None:
    await site.run(write)
    await site.run(read)
    with closing(sqlite3.connect(site.database)) as connection:
        connection.execute("UPDATE login SET password = 'mine'")
        connection.commit()
    with pytest.raises(CairnError) as found:
        await site.run(read)
    assert found.value.code == "secret.not-sealed"


async def test_statements_built_by_hand_cannot_write_secrets_in_clear_nor_search_by_them(site: Site) -> None:
    await site.run(write)
    for fn in (
        lambda tx: tx.execute(UPDATE, {"password": PASSWORD}),
        lambda tx: tx.rows(SELECT),
    ):
        with pytest.raises((TypeError, CairnError)):
            await site.run(fn)
    with pytest.raises(CairnError) as found:
        await site.run(lambda tx: tx.find(Login, password=PASSWORD))
    assert found.value.code == "store.sealed-field"
    assert await site.run(read) == WRITTEN


def test_record_with_secrets_does_not_print_them() -> None:
    shown = repr(Login(uuid="a", password=PASSWORD, key=KEY_TEXT))
    assert shown == "Login(uuid='a', password=***, key=***)"


def test_sealed_field_cannot_be_searched_by() -> None:
    class Wrong(Record, frozen=True, kw_only=True):
        meta: ClassVar[TableMeta] = TableMeta(table="wrong")
        uuid: Annotated[str, Key()]
        password: Annotated[str, Sealed(), Index()]

    with pytest.raises(CairnError, match="password"):
        info(Wrong)


async def test_database_of_a_memory_store_is_sealed_too() -> None:
    store = await Store.memory(SCHEMA, SystemClock(), inline=True)
    await store.write(write)
    assert PASSWORD.encode() not in store.content()
    again = await Store.memory(SCHEMA, SystemClock(), inline=True, content=store.content(), seals=Seals.ephemeral())
    with pytest.raises(CairnError) as found:
        await again.read(read)
    assert found.value.code == "secret.key-missing"
    for one in (store, again):
        await one.close()


def test_keys_that_are_needed_are_taken_from_the_file_and_none_is_made(tmp_path: Path) -> None:
    file = tmp_path / "secret.key"
    assert require_keys(file, set()).current.id
    assert not file.exists()
    with pytest.raises(CairnError) as missing:
        require_keys(file, {"0123456789abcdef"})
    assert missing.value.code == "secret.key-missing"

    key = open_seals(file, tmp_path / "no.db").current.id

    assert require_keys(file, {key}).current.id == key
    with pytest.raises(CairnError, match="0123456789abcdef"):
        require_keys(file, {key, "0123456789abcdef"})


#: somebody is writing the first note
WAITS = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'INSERT INTO sealed_column%'"


def tables(url: str) -> None:
    driver = driver_at(database_at(url))
    with closing(driver.connect(read_only=False)) as connection:
        for statement in driver.tables(SCHEMA):
            connection.execute(statement, ())
        connection.begin()
        connection.execute("INSERT INTO login (uuid, password, `key`) VALUES ('a', ?, ?)", (PASSWORD, KEY_TEXT))
        connection.commit()


@pytest.fixture(params=["file", "server"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database from before seals, with a secret in clear."""
    url = str(tmp_path / "s.db") if request.param == "file" else shared_server().url(shared_server().create())
    tables(url)
    return url


def secrets(url: str, seals: Seals) -> tuple[str, bytes]:
    with connected(url, read_only=True) as connection:
        ((password, key),) = connection.fetch("SELECT password, `key` FROM login", ())
    assert isinstance(key, bytes)
    return seals.open_text(str(password), "login.password"), seals.open(key, "login.key")


def test_of_two_first_starts_at_once_with_keys_of_their_own_the_second_is_refused(url: str, tmp_path: Path) -> None:
    one, two = tmp_path / "one.key", tmp_path / "two.key"
    first, second = (
        open_seals(one, url),
        open_seals(two, url),
    )  # each finds no key that the database needs, and makes one
    claim_key(url, first, one)

    for _ in range(2):
        with pytest.raises(CairnError, match=f"{first.current.id}, which is not in {two}") as found:
            claim_key(url, second, two)
        assert found.value.code == "secret.key-missing"
    with pytest.raises(CairnError, match="copy theirs"):
        open_seals(two, url)  # its next start

    assert seal_database(url, SCHEMA, first) == 2
    assert secrets(url, open_seals(one, url)) == (PASSWORD, KEY_TEXT)


def test_the_key_of_the_cloud_follows_a_rotation(url: str, tmp_path: Path) -> None:
    one = tmp_path / "one.key"
    for _ in range(2):
        seals = open_seals(one, url)
        claim_key(url, seals, one)
        seal_database(url, SCHEMA, seals)
        new = rotate(one)
    seals = open_seals(one, url)
    claim_key(url, seals, one)
    seal_database(url, SCHEMA, seals)
    one.write_text(one.read_text().splitlines()[0] + "\n")

    assert open_seals(one, url).current.id == new
    claim_key(url, open_seals(one, url), one)


def test_a_claim_waits_for_one_that_is_just_being_made(tmp_path: Path) -> None:
    url = shared_server().url(shared_server().create())
    tables(url)
    seals = open_seals(tmp_path / "two.key", url)
    with connected(url) as other, ThreadPoolExecutor(1) as threads:
        other.begin()
        other.execute("INSERT INTO sealed_column (name, seal_key) VALUES ('*', 'quicker')", ())
        claim = threads.submit(claim_key, url, seals, tmp_path / "two.key")
        while not other.fetch(WAITS, ()):
            assert not claim.done()
        other.commit()
        with pytest.raises(CairnError, match="quicker"):
            claim.result()
