from __future__ import annotations

import sqlite3
import warnings
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
from tests.unit.kernel import sample
from tests.unit.kernel.sample import RECORDS, Zone, ZoneId, zone

from cairn.kernel.error import CairnError
from cairn.kernel.store import Index, Key, Record, References, Schema, Store, TableMeta
from cairn.kernel.store.migrations import check, revision, upgrade
from cairn.testing.clock import VirtualClock


class Vip(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="vip", entity="Vip")
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[ZoneId, References(Zone, join="zone", back="vips", on_delete="cascade")]


class VipAfterwards(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="vip", entity="Vip")
    uuid: Annotated[str, Key()]
    zone_uuid: Annotated[ZoneId, References(Zone, join="zone", back="vips", on_delete="cascade")]
    name: Annotated[str | None, Index()] = None


class Note(Record, frozen=True, kw_only=True):
    meta: ClassVar[TableMeta] = TableMeta(table="note", entity="Note")
    uuid: Annotated[str, Key()]


#: a plugin's script that goes by what the core's have made
NAMES_OF_ZONES = """
from alembic import op

revision = "vip_0002"
down_revision = "vip_0001"


def upgrade():
    op.get_bind().exec_driver_sql("SELECT name FROM zone")
"""


@pytest.fixture(autouse=True)
def no_warnings() -> None:
    warnings.simplefilter("error")


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """The core's scripts, one of them written."""
    location = tmp_path / "cairn" / "migrations" / "versions"
    assert revision("first tables", location, sample.schema(), [location]) is not None
    return location


@pytest.fixture
def vip(tmp_path: Path, core: Path) -> Path:
    """A plugin's scripts, one of them written."""
    location = tmp_path / "plugins" / "vip" / "versions"
    assert revision("vips", location, Schema([*RECORDS, Vip]), [core, location], ["vip"]) is not None
    return location


async def test_a_migrated_database_is_what_the_records_say_and_can_be_opened(core: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    assert upgrade(path, [core])
    assert check(path, sample.schema()) == []
    store = await Store.open(path, sample.schema(), VirtualClock())
    await store.write(lambda tx: tx.insert(zone(1)))
    await store.close()
    assert not upgrade(path, [core])
    assert check(path, sample.schema()) == []


def test_what_the_database_lacks_is_told(core: Path, tmp_path: Path) -> None:
    upgrade(tmp_path / "s.db", [core])
    assert any("vip" in line for line in check(tmp_path / "s.db", Schema([*RECORDS, Vip])))


def test_a_lost_collation_or_strictness_is_told(core: Path, tmp_path: Path) -> None:
    upgrade(tmp_path / "s.db", [core])
    connection = sqlite3.connect(tmp_path / "s.db")
    connection.execute("DROP TABLE l3_network")
    connection.execute(
        "CREATE TABLE l3_network (uuid TEXT NOT NULL, name TEXT NOT NULL, CONSTRAINT pk_l3_network PRIMARY KEY (uuid))"
    )
    connection.execute("CREATE INDEX ix_l3_network_name ON l3_network (name)")
    connection.close()
    assert check(tmp_path / "s.db", sample.schema()) == [
        "table l3_network is not STRICT",
        "table l3_network: the collation differs in name",
    ]


def test_each_location_has_its_own_history_and_a_plugin_may_be_left_out_and_come_back(
    core: Path, vip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "s.db"
    upgrade(path, [core, vip])
    assert check(path, Schema([*RECORDS, Vip])) == []
    assert not upgrade(path, [core])
    assert not upgrade(path, [core, vip])
    text = (vip / "0001_vips.py").read_text()
    assert "op.create_table('vip'" in text
    assert "zone'," not in text.replace("['zone_uuid'], ['zone.uuid'],", "")


def test_a_change_of_records_is_written_down_and_kept_data_stays(core: Path, vip: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    upgrade(path, [core, vip])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("INSERT INTO zone VALUES ('z','n',NULL,'Enabled','{}',NULL,0,1,NULL,0)")
    connection.execute("INSERT INTO vip VALUES ('v', 'z')")
    connection.commit()
    connection.close()
    schema = Schema([*RECORDS, VipAfterwards])
    file = revision("give vips names", vip, schema, [core, vip], ["vip"])
    assert file is not None
    assert file.name == "0002_give_vips_names.py"
    assert 'down_revision = "vip_0001"' in file.read_text()
    assert upgrade(path, [core, vip])
    assert check(path, schema) == []
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT uuid, name FROM vip").fetchall() == [("v", None)]
    connection.close()
    assert revision("nothing", vip, schema, [core, vip], ["vip"]) is None


def test_a_table_without_a_record_is_dropped(core: Path, vip: Path, tmp_path: Path) -> None:
    file = revision("no vips", vip, sample.schema(), [core, vip], [])
    assert file is not None
    upgrade(tmp_path / "s.db", [core, vip])
    assert check(tmp_path / "s.db", sample.schema()) == []


def test_the_cores_change_is_written_down_although_plugins_scripts_need_its_tables(
    core: Path, vip: Path, tmp_path: Path
) -> None:
    (vip / "0002_names.py").write_text(NAMES_OF_ZONES)
    own = ["note", *(record.meta.table for record in RECORDS)]

    file = revision("notes", core, Schema([Note, *RECORDS, Vip]), [core, vip], own)

    assert file is not None
    assert file.parent == core
    assert "op.create_table('note'" in file.read_text()
    assert "vip" not in file.read_text()


def test_a_script_that_fails_leaves_nothing_behind(core: Path, tmp_path: Path) -> None:
    (core / "0002_broken.py").write_text(
        'from alembic import op\nrevision = "cairn_0002"\ndown_revision = "cairn_0001"\n'
        "def upgrade():\n    op.execute('CREATE TABLE half (x)')\n    op.execute('SELECT nonsense')\n"
    )
    with pytest.raises(CairnError, match="could not be brought up to date") as caught:
        upgrade(tmp_path / "s.db", [core])
    assert caught.value.code == "store.migration-failed"
    connection = sqlite3.connect(tmp_path / "s.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()


def test_references_that_a_script_breaks_are_refused(core: Path, tmp_path: Path) -> None:
    (core / "0002_broken.py").write_text(
        'from alembic import op\nrevision = "cairn_0002"\ndown_revision = "cairn_0001"\n'
        "def upgrade():\n    op.execute(\"INSERT INTO kvm_host VALUES ('h', 'root', NULL)\")\n"
    )
    with pytest.raises(CairnError, match="rows of kvm_host would point to rows of host"):
        upgrade(tmp_path / "s.db", [core])


def test_a_database_of_a_newer_cairn_is_left_alone(core: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    upgrade(path, [core])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version_cairn SET version_num = 'cairn_9999'")
    connection.commit()
    connection.close()
    with pytest.raises(CairnError, match="used with a newer cairn") as caught:
        upgrade(path, [core])
    assert caught.value.code == "store.newer-database"


def test_locations_of_one_name_and_two_newest_revisions_are_refused(core: Path, tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="have the same name 'cairn'"):
        upgrade(tmp_path / "s.db", [core, tmp_path / "other" / "cairn" / "versions"])
    (core / "0002_fork.py").write_text('revision = "fork"\ndown_revision = None\n')
    with pytest.raises(CairnError, match="more than one newest revision: cairn_0001, fork"):
        upgrade(tmp_path / "s.db", [core])


def test_a_location_without_scripts_is_fine(tmp_path: Path) -> None:
    (tmp_path / "plugin" / "versions").mkdir(parents=True)
    assert not upgrade(tmp_path / "s.db", [tmp_path / "plugin" / "versions"])


def test_newest_scripts_are_those_that_a_database_has_run_after_an_upgrade(tmp_path: Path) -> None:
    from cairn.bootstrap import CORE_MIGRATIONS
    from cairn.kernel.store.migrations import newest_scripts, scripts_run
    from cairn.kernel.store.sqlite import SqliteDriver

    upgrade(tmp_path / "a.db", [CORE_MIGRATIONS])
    connection = SqliteDriver(tmp_path / "a.db").connect(read_only=True)
    assert scripts_run(connection) == newest_scripts([CORE_MIGRATIONS])
    assert list(newest_scripts([CORE_MIGRATIONS])) == ["cairn"]
    connection.close()
