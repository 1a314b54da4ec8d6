"""A MariaDB server for tests: private folder and socket, in memory where possible, quick and not durable, ended with the process.

Databases are kept and emptied: to make all tables takes longer than most tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import cast

import msgspec

from cairn.kernel.store.address import ServerAddress
from cairn.kernel.store.driver import Connection, Row
from cairn.kernel.store.mariadb import CommitMark, MariadbConnection, MariadbDriver, Raw
from cairn.kernel.store.record import SqlValue
from cairn.kernel.store.schema import Schema

_BETWEEN_LOOKS_SECONDS = 0.05
_LOOKS = 1200
_OWN_TABLES = frozenset({CommitMark.meta.table})
_CONFIG = """[mariadbd]
datadir={folder}/data
socket={folder}/socket
pid-file={folder}/pid
log-error={folder}/log.err
skip-networking={no_network}
bind-address=127.0.0.1
port={port}
skip-log-bin
innodb_flush_log_at_trx_commit={flush}
innodb_doublewrite=0
innodb_flush_method=nosync
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_fast_shutdown=2
innodb_stats_persistent=0
performance_schema=OFF
max_connections=400
table_open_cache=4000
skip-name-resolve
user={user}
{tls}
"""


class Server:
    """A running server.

    Args:
        folder: where it keeps everything; None: one of its own, which goes with it.
        port: on 127.0.0.1; 0: its socket only.
        durable: each commit is on the disk, as in production.
        tls: folder of ``server.crt`` and ``server.key``; None: it speaks no TLS.
    """

    def __init__(
        self, folder: Path | None = None, *, port: int = 0, durable: bool = False, tls: Path | None = None
    ) -> None:
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="cairn-mariadb-", dir=_memory()))
        self.port = port
        self._durable = durable
        self._tls = f"ssl_cert={tls}/server.crt\nssl_key={tls}/server.key" if tls else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._free: defaultdict[str, list[str]] = defaultdict(list)
        self._made = 0
        install = ["mariadb-install-db", "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db"]
        user = _user()
        subprocess.run(
            [*install, "--auth-root-authentication-method=normal", f"--user={user}"], check=True, capture_output=True
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections. What was committed before is there."""
        config = self.folder / "my.cnf"
        network = {"no_network": "0" if self.port else "1", "port": self.port or 3306}
        flush = 1 if self._durable else 0
        config.write_text(_CONFIG.format(folder=self.folder, flush=flush, user=_user(), tls=self._tls, **network))
        # It ends with this process, however that ends.
        command = ["setpriv", "--pdeathsig", "KILL", "mariadbd", f"--defaults-file={config}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(_LOOKS):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            self._wait(_BETWEEN_LOOKS_SECONDS)
        raise RuntimeError(f"mariadbd did not start:\n{(self.folder / 'log.err').read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it, and remove its folder if it made that."""
        self.kill()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def address(self, database: str) -> ServerAddress:
        """Of one of its databases."""
        return ServerAddress(database=database, user="root", socket=str(self.folder / "socket"))

    def url(self, database: str) -> str:
        """The same, as a setting."""
        return f"mysql://root@/{database}?unix_socket={self.folder / 'socket'}"

    def create(self) -> str:
        """A new empty database; its name."""
        self._made += 1
        name = f"t{self._made}"
        self.run(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return name

    def run(self, statement: str) -> None:
        """Have the administrator of the server run a statement."""
        connection = MariadbDriver(self.address("mysql")).connect(read_only=False)
        connection.execute(statement, ())
        connection.close()

    def driver(self, schema: Schema, content: bytes | None = None) -> PooledDriver:
        """A database with the tables of the schema, and with what `Store.content` of another one gave."""
        probe = MariadbDriver(self.address("mysql"))
        tables = probe.tables(schema)
        kind = "\n".join(tables)
        name = self._free[kind].pop() if self._free[kind] else self.create()
        made = PooledDriver(self.address(name), self._free[kind], tables)
        made.fill(content)
        return made

    def _answers(self) -> bool:
        ping = ["mariadb-admin", "--no-defaults", f"--socket={self.folder}/socket", "--user=root", "ping"]
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0

    def _wait(self, seconds: float) -> None:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)


class CopyableConnection(MariadbConnection):
    """A connection that can give all rows."""

    def content(self) -> bytes:
        """All tables with all rows, as `PooledDriver.fill` takes them."""
        found: list[tuple[str, str, str, list[Row]]] = []
        for table, columns in self._ordered_columns().items():
            ((_, ddl),) = self._fetch(f"SHOW CREATE TABLE {table}".encode())
            rows = self._fetch(f"SELECT {columns} FROM {table}".encode())  # noqa: S608 (names that the database gave)
            found.append((table, str(ddl), columns, rows))
        self._send(b"COMMIT")
        return msgspec.msgpack.encode(found)

    def _ordered_columns(self) -> dict[str, str]:
        rows = self.fetch(
            "SELECT table_name, GROUP_CONCAT(CONCAT('`', column_name, '`') ORDER BY ordinal_position) "
            "FROM information_schema.columns WHERE table_schema = DATABASE() GROUP BY table_name",
            (),
        )
        return {str(table): str(columns) for table, columns in rows if table not in _OWN_TABLES}


class PooledDriver(MariadbDriver):
    """A database that goes back, emptied, when its store is closed.

    Args:
        address: of the database.
        pool: where its name goes then.
        tables: the statements that make its tables.
    """

    def __init__(self, address: ServerAddress, pool: list[str], tables: Iterable[str]) -> None:
        super().__init__(address)
        self.pool = pool
        self._tables = tables
        self._more: list[str] = []  #: tables that are not of the schema

    def fill(self, content: bytes | None) -> None:
        """Make the tables if need be, and put rows in."""
        connection = self.connect(read_only=False)
        if not connection.columns():
            for statement in self._tables:
                connection.execute(statement, ())
        if content is not None:
            connection.execute("SET SESSION foreign_key_checks = 0", ())
            there = connection.columns()
            saved = cast("list[tuple[str, str, str, list[list[SqlValue]]]]", msgspec.msgpack.decode(content))
            for table, ddl, columns, rows in saved:
                if table not in there:  # of a plugin that is no part of the schema now
                    connection.execute(ddl, ())
                    self._more.append(table)
                if rows:
                    marks = ", ".join("?" * len(rows[0]))
                    connection.execute_many(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)  # noqa: S608 (the same)
        connection.commit()
        connection.close()

    def close(self) -> None:
        """Empty all tables, and let the next test have them."""
        connection = self.connect(read_only=False)
        connection.execute("SET SESSION foreign_key_checks = 0", ())
        for table in self._more:
            connection.execute(f"DROP TABLE {table}", ())
        for table in _with_rows(connection):
            connection.execute(f"DELETE FROM {table}", ())  # noqa: S608 (a name that the database gave)
        connection.commit()
        for table in _counting(connection):
            connection.execute(f"ALTER TABLE {table} AUTO_INCREMENT = 1", ())
        connection.close()
        self.pool.append(self.address.database)

    def _made(self, raw: Raw, read_only: bool) -> CopyableConnection:
        return CopyableConnection(raw, self._module.Error, read_only=read_only, is_mariadb=self.is_mariadb)


def _with_rows(connection: Connection) -> list[str]:
    tables = sorted(connection.columns())
    asked = " UNION ALL ".join(f"SELECT '{table}' FROM DUAL WHERE EXISTS (SELECT 1 FROM {table})" for table in tables)  # noqa: S608 (the same)
    return [str(row[0]) for row in connection.fetch(asked, ())]


def _counting(connection: Connection) -> list[str]:
    asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND auto_increment > 1"
    return [str(row[0]) for row in connection.fetch(asked, ())]


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (a folder of our own is made there)


def _user() -> str:
    return "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")


_shared: list[Server] = []


def shared_server() -> Server:
    """The server of this process, started when it is asked for first."""
    if not _shared:
        _shared.append(Server())
    return _shared[0]


def stop_shared_server() -> None:
    """End it, if it runs; at the end of a session of tests."""
    while _shared:
        _shared.pop().stop()
