"""Upgrades of a database on a server, broken off wherever that is possible."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.store import upgrading
from cairn.kernel.store.address import ServerAddress
from cairn.kernel.store.migrations import upgrade
from cairn.kernel.store.opening import connected
from cairn.kernel.store.upgrading import ServerUpgrade, server_connection
from cairn.testing.mariadb import shared_server

HEAD = '''"""{name}."""
import sqlalchemy as sa
from alembic import op
from cairn.kernel.store import types

revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None

def upgrade() -> None:
'''
LONG = "ix_thing_" + "a_rather_long_name_of_an_index_" * 3
FIRST = f'''
    op.create_table(
        "thing",
        sa.Column("uuid", types.Id(), nullable=False),
        sa.Column("of_uuid", types.Id(), nullable=True),
        sa.Column("size", types.Whole(), nullable=False),
        sa.PrimaryKeyConstraint("uuid"),
        sa.ForeignKeyConstraint(["of_uuid"], ["owner.uuid"], name="fk_thing_of_uuid"),
        sqlite_strict=True,
    )
    op.create_table("owner", sa.Column("uuid", types.Id(), nullable=False), sa.PrimaryKeyConstraint("uuid"))
    with op.batch_alter_table("thing") as batch:
        batch.create_index("{LONG}", ["size"])
    op.execute("INSERT INTO thing (uuid, size) VALUES ('a', 1)")
'''
SECOND = """
    op.execute("UPDATE thing SET size = size * 10")
    op.add_column("thing", sa.Column("note", types.Name(), nullable=False, server_default="none"))
    op.execute("UPDATE thing SET size = size + 1")
    op.execute("UPDATE thing SET note = note || '!'")
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    folder = tmp_path / "shop" / "versions"
    folder.mkdir(parents=True)
    (folder / "0001.py").write_text(HEAD.format(name="First", revision="shop_0001", before="None") + FIRST)
    (folder / "0002.py").write_text(HEAD.format(name="Second", revision="shop_0002", before='"shop_0001"') + SECOND)
    return folder


def new() -> str:
    return shared_server().url(shared_server().create())


def things(url: str) -> list[tuple[object, ...]]:
    with connected(url, read_only=True) as connection:
        connection.begin()
        return list(connection.fetch("SELECT uuid, size, note FROM thing", ()))


class BrokenOff(Exception):
    """The process ends here."""


def test_an_upgrade_is_done_once(scripts: Path) -> None:
    url = new()
    assert upgrade(url, [scripts])
    assert not upgrade(url, [scripts])
    assert things(url) == [("a", 11, "none!")]


def dying_at(fatal: int, calls: list[int]) -> Callable[[ServerUpgrade, str, object], None]:
    """`ServerUpgrade._run`, which is not come back from at one call; `calls` has one number, that of all calls so far."""
    run = ServerUpgrade._run

    def dying(self: ServerUpgrade, statement: str, parameters: object = None) -> None:
        calls[0] += 1
        if calls[0] == fatal:
            raise BrokenOff
        run(self, statement, parameters)

    return dying


def test_one_that_is_broken_off_anywhere_goes_on_where_it_stopped(
    scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends at each of the statements that count, of which there is one before and one after each that counts."""
    broken = 0
    for fatal in range(1, 60):
        url, calls = new(), [0]
        with monkeypatch.context() as patched:
            patched.setattr(ServerUpgrade, "_run", dying_at(fatal, calls))
            try:
                upgrade(url, [scripts])
            except BrokenOff:
                broken += 1
        upgrade(url, [scripts])
        assert things(url) == [("a", 11, "none!")], fatal
        if calls[0] < fatal:
            break
    assert 20 < broken < 59


def test_a_script_that_fails_says_that_it_goes_on_once_that_is_put_right(scripts: Path) -> None:
    url = new()
    good = (scripts / "0002.py").read_text()
    (scripts / "0002.py").write_text(good.replace("size + 1", "nothing + 1"))
    with pytest.raises(CairnError) as caught:
        upgrade(url, [scripts])
    assert caught.value.code == "store.migration-failed"
    assert "is not done again" in str(caught.value)
    (scripts / "0002.py").write_text(good)
    upgrade(url, [scripts])
    assert things(url) == [("a", 11, "none!")]


def test_what_is_there_already_is_a_mistake_of_a_script_that_was_not_broken_off(scripts: Path) -> None:
    url = new()
    upgrade(url, [scripts])
    (scripts / "0003.py").write_text(
        HEAD.format(name="Third", revision="shop_0003", before='"shop_0002"')
        + '    op.execute("CREATE TABLE thing (a INT)")\n'
    )
    for _ in range(2):
        with pytest.raises(CairnError, match="already exists"):
            upgrade(url, [scripts])


def test_nodes_that_start_together_take_turns(scripts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = new()
    monkeypatch.setattr(upgrading, "_WAIT_SECONDS", 0)
    database = url.rpartition("/")[0] and url.split("/")[3].partition("?")[0]
    address = shared_server().address(database)
    assert isinstance(address, ServerAddress)
    with server_connection(address):
        with pytest.raises(CairnError) as caught:
            upgrade(url, [scripts])
    assert caught.value.code == "store.upgrade-busy"
    assert upgrade(url, [scripts])
