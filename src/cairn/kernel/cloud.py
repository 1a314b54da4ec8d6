"""The cloud as a whole: what a node makes sure of before it works on a database.

A database has one row `Cloud`, written by the first node that ever works on it, and each data folder has a file with that cloud's
id. So a node notices

- a database that is not its cloud's: another cloud's, or an empty one (``node.other-cloud``). Without that a wrong setting
  would begin a second cloud, with an authority of its own, unseen;
- a key file that is not its cloud's (``secret.key-missing``): the row has a value that is sealed;
- that it is too old for what newer nodes have made of the database (``node.too-old``).

Versions: a node brings the database up to date when it starts, while nodes of the version before run on. A version whose scripts
those do not stand says so, by `OLDEST_NEIGHBOUR`: nodes that are older are refused from then on when they start, and have to be
stopped before the first of the new ones is started.
"""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, ClassVar, Final

import structlog

from cairn.kernel.deploy.model import ONLY, SharedAuthority
from cairn.kernel.deploy.moving import Earlier, move_in, read_earlier, remove_moved, root_name
from cairn.kernel.deploy.pem import write
from cairn.kernel.deploy.roots import roots_in
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.store.record import Key, Record, Sealed, TableMeta, Text
from cairn.kernel.store.store import Store, Tx

CLOUD_FILE: Final = "cloud-id"
#: the oldest version whose nodes may run on a database that this version has brought up to date
OLDEST_NEIGHBOUR: Final = "0.1.0"
_SEALED: Final = "this opens with the keys of the cloud"
_log = structlog.get_logger("cairn.cloud")


class Cloud(Record, frozen=True, kw_only=True):
    """The cloud whose database this is: one row."""

    meta: ClassVar[TableMeta] = TableMeta(table="cloud")

    uuid: Annotated[str, Key()] = ONLY
    id: Annotated[str, Text(64, exact=True)]
    version: Annotated[str, Text(64, exact=True)]  #: the newest that has worked on the database
    least_version: Annotated[str, Text(64, exact=True)]  #: the oldest that still may
    seal_check: Annotated[str, Sealed()] = _SEALED
    create_date: datetime


async def join(store: Store, folder: Path, ids: IdSource, version: str) -> str:
    """Make sure that a node may work on a database, and found the cloud there if it is the first. Safe to repeat.

    What an earlier version kept in the data folder is moved into the database of a cloud that is founded.

    Args:
        store: of the cloud.
        folder: the node's data folder.
        version: the node's.

    Returns:
        The cloud's id.

    Raises:
        CairnError: ``node.other-cloud``, ``node.too-old``, ``secret.key-missing``, ``pki.broken``.
    """
    mine = await asyncio.to_thread(_read, folder / CLOUD_FILE)
    row = await store.read(_cloud)
    if row is None:
        if mine is not None:
            raise _empty(folder, mine)
        row = await _found(store, folder, ids.new(), version)
    _check_version(row, version)
    if mine not in (None, row.id):
        raise _other(folder, f"of the cloud {mine}, and the database is that of the cloud {row.id}")
    if mine is None:
        await _claim(store, folder, row.id)
    await asyncio.to_thread(remove_moved, folder)
    if row.version != version and _numbers(row.version) < _numbers(version):
        await store.write(lambda tx: _note_version(tx, version))
    return row.id


def _cloud(tx: Tx) -> Cloud | None:
    return tx.get(Cloud, ONLY)


async def _found(store: Store, folder: Path, cloud: str, version: str) -> Cloud:
    """Write the cloud's row, with what the folder has of it; another node may be quicker."""
    earlier = await asyncio.to_thread(read_earlier, folder)

    def fn(tx: Tx) -> Cloud:
        found = _cloud(tx)
        if found is not None:
            return found
        made = Cloud(id=cloud, version=version, least_version=OLDEST_NEIGHBOUR, create_date=tx.now)
        tx.insert(made)
        move_in(tx, earlier)
        return made

    try:
        row = await store.write(fn)
    except CairnError as error:
        if error.code != "store.duplicate":
            raise
        found = await store.read(_cloud)
        assert found is not None, "another node has written it"
        return found
    if row.id == cloud:
        _log.info("cloud.founded", cloud=cloud, moved=_told(earlier))
    return row


def _told(earlier: Earlier) -> dict[str, int]:
    """What was moved, for the log."""
    found = {"authority": int(earlier.authority is not None), "ssh_key": int(earlier.ssh_key is not None)}
    return {**found, "agents": len(earlier.pairs), "known_hosts": len(earlier.known_hosts)}


async def _claim(store: Store, folder: Path, cloud: str) -> None:
    """Note in the folder whose it is. One with the key of a root that this cloud does not have is another cloud's."""
    name = await asyncio.to_thread(root_name, folder)
    if name is not None:
        row = await store.read(lambda tx: tx.get(SharedAuthority, ONLY))
        if row is None or name not in roots_in(row).names:
            raise _other(
                folder, f"of a cloud with an authority of its own, and the database is that of the cloud {cloud}"
            )
    await asyncio.to_thread(write, folder / CLOUD_FILE, f"{cloud}\n".encode(), 0o600)


def _read(path: Path) -> str | None:
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def _note_version(tx: Tx, version: str) -> None:
    row = _cloud(tx)
    if row is not None and _numbers(row.version) < _numbers(version):
        least = max(row.least_version, OLDEST_NEIGHBOUR, key=_numbers)
        tx.update(Cloud, ONLY, version=version, least_version=least)


def _check_version(row: Cloud, version: str) -> None:
    if _numbers(version) < _numbers(row.least_version):
        raise CairnError(
            "node.too-old",
            f"This node is of version {version}; nodes of version {row.version} have worked on its database, and need at least "
            f"version {row.least_version} beside them. Install that version here, too.",
            kind=ErrorKind.UNAVAILABLE,
            details={"version": version, "least": row.least_version},
        )


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, as versions are compared."""
    return tuple(int(one) for one in re.findall(r"\d+", version.partition("+")[0]))


def _empty(folder: Path, mine: str) -> CairnError:
    return _other(
        folder,
        f"of the cloud {mine}, and the database has no cloud in it. Restore the database from a backup, if it was lost",
    )


def _other(folder: Path, what: str) -> CairnError:
    return CairnError(
        "node.other-cloud",
        f"The data folder {folder} is {what}. Name the right database (CAIRN_DATABASE), or give this node a new data folder "
        "(CAIRN_DATA_DIR). Nothing was changed.",
        kind=ErrorKind.CONFLICT,
        details={"folder": str(folder)},
    )
