"""MariaDB's driver, on a server that the tests start."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ports import free_port
from tests.unit.kernel import sample

from cairn.kernel.error import CairnError
from cairn.kernel.store.address import ServerAddress, database_at
from cairn.kernel.store.driver import Connection, Mark, Row, Trouble
from cairn.kernel.store.mariadb import MariadbConnection, MariadbDriver, client, code_of
from cairn.testing.mariadb import Server, shared_server

ADD = "INSERT INTO entry (text) VALUES (?)"
RAISE = "UPDATE entry SET text = ? WHERE number = ?"
SLOW = "SELECT count(*) FROM seq_1_to_100000000 a WHERE a.seq % 7 = 3"


@pytest.fixture
def driver() -> Iterator[MariadbDriver]:
    """A database with the sample's tables."""
    made = shared_server().driver(sample.schema())
    yield made
    made.close()


@pytest.fixture
def writer(driver: MariadbDriver) -> Iterator[Connection]:
    made = driver.connect(read_only=False)
    yield made
    made.close()


def add(writer: Connection, *texts: str) -> None:
    writer.begin()
    for text in texts:
        writer.execute(ADD, (text,))
    writer.commit()


def texts(connection: Connection) -> list[object]:
    connection.begin()
    found: list[object] = [row[0] for row in connection.fetch("SELECT text FROM entry ORDER BY number", ())]
    connection.rollback()
    return found


def numbers(connection: Connection) -> list[int]:
    connection.begin()
    found = [int(row[0] or 0) for row in connection.fetch("SELECT number FROM entry ORDER BY number", ())]
    connection.rollback()
    return found


def kind(driver: MariadbDriver, error: BaseException) -> Trouble | None:
    """The kind of trouble that an error means."""
    found = driver.trouble(error)
    return None if found is None else found[0]


def end(driver: MariadbDriver, connection: Connection) -> None:
    """Have the server end a connection."""
    other = driver.connect(read_only=False)
    connection.begin()
    ((number,),) = connection.fetch("SELECT CONNECTION_ID()", ())
    connection.rollback()
    other.execute("KILL ?", (number,))
    other.close()


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])), data=st.binary(), number=st.integers(-(2**63), 2**63 - 1)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_values_come_back_as_they_were_given(writer: Connection, text: str, data: bytes, number: int) -> None:
    writer.begin()
    writer.execute("CREATE TEMPORARY TABLE IF NOT EXISTS given (t LONGTEXT CHARSET utf8mb4, d LONGBLOB, n BIGINT)", ())
    writer.execute("DELETE FROM given", ())
    writer.execute("INSERT INTO given VALUES (?, ?, ?)", (text, data, number))
    assert writer.fetch_one("SELECT t, d, n, 1.5e0, NULL, sum(n) FROM given", ()) == (
        text,
        data,
        number,
        1.5,
        None,
        number,
    )
    found = writer.fetch_one("SELECT n FROM given WHERE t = ? COLLATE utf8mb4_nopad_bin AND d = ?", (text, data))
    assert found == (number,)
    writer.rollback()


def executed(connection: Connection) -> int:
    """How many times the session has executed a prepared statement."""
    found = connection.fetch_one("SHOW SESSION STATUS LIKE 'Com_execute_sql'", ())
    assert found is not None
    return int(str(found[1]))


def test_a_text_that_comes_again_and_again_is_prepared(writer: Connection) -> None:
    add(writer, *map(str, range(20)))
    assert executed(writer) == 12
    assert texts(writer) == list(map(str, range(20)))


@given(text=st.text(st.characters(exclude_categories=["Cs"])) | st.none(), data=st.binary() | st.none())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_values_come_back_from_prepared_statements_as_they_were_given(
    writer: Connection, text: str | None, data: bytes | None
) -> None:
    writer.begin()
    writer.execute("CREATE TEMPORARY TABLE IF NOT EXISTS told (t LONGTEXT CHARSET utf8mb4, d LONGBLOB, f DOUBLE)", ())
    writer.execute("DELETE FROM told", ())
    writer.execute("INSERT INTO told VALUES (?, ?, ?)", (text, data, 1.5))
    assert writer.fetch_one("SELECT t, d, f, ? FROM told LIMIT ?", (data, 1)) == (text, data, 1.5, data)
    writer.rollback()


def test_a_prepared_statement_fails_as_any_other(driver: MariadbDriver, writer: Connection) -> None:
    add_zone = "INSERT INTO mutex (name) VALUES (?)"
    writer.begin()
    writer.execute("CREATE TEMPORARY TABLE mutex (name VARCHAR(9) CHARSET utf8mb4 UNIQUE)", ())
    for number in range(10):
        assert writer.execute(add_zone, (str(number),)) == 1
    with pytest.raises(client().Error) as caught:
        writer.execute(add_zone, ("9",))
    assert driver.trouble(caught.value) == (Trouble.DUPLICATE, "key:name")
    assert writer.in_transaction
    for _ in range(10):
        assert writer.execute("UPDATE mutex SET name = ? WHERE name = ?", ("1", "1")) == 1


def test_a_prepared_statement_bears_that_its_table_changes(writer: Connection) -> None:
    writer.begin()
    writer.execute("CREATE TEMPORARY TABLE grown (a INT)", ())
    for number in range(10):
        writer.execute("INSERT INTO grown (a) VALUES (?)", (number,))
    writer.execute("ALTER TABLE grown ADD COLUMN b INT NOT NULL DEFAULT 7 FIRST", ())
    writer.execute("INSERT INTO grown (a) VALUES (?)", (10,))
    assert writer.fetch_one("SELECT a, b FROM grown WHERE a = ?", (10,)) == (10, 7)


def test_a_connection_prepares_a_bounded_number_of_texts(writer: Connection) -> None:
    writer.begin()
    for number in range(200):
        for _ in range(9):
            assert writer.fetch_one(f"SELECT {number} + ?", (1,)) == (number + 1,)
    assert executed(writer) == 128


def test_texts_that_are_too_long_or_cannot_be_prepared_are_sent_as_they_are(writer: Connection) -> None:
    writer.begin()
    for _ in range(10):
        assert writer.fetch_one(f"SELECT ?, '{'y' * 8192}'", (1,)) == (1, "y" * 8192)
        with pytest.raises(client().Error) as caught:
            writer.execute("UPDATE nowhere SET a = ?", (1,))
        assert code_of(caught.value) == 1146
    assert executed(writer) == 0


def test_where_the_server_prepares_no_more_texts_are_sent(writer: Connection) -> None:
    limit = "SET GLOBAL max_prepared_stmt_count = {}"
    writer.execute(limit.format(0), ())
    try:
        add(writer, *map(str, range(20)))
        assert executed(writer) == 0
        assert len(texts(writer)) == 20
    finally:
        writer.execute(limit.format(16382), ())


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_refused(driver: MariadbDriver, writer: Connection, value: int) -> None:
    writer.begin()
    with pytest.raises(OverflowError) as caught:
        writer.execute("UPDATE host SET memory = ?", (value,))
    assert driver.trouble(caught.value) == (Trouble.OTHER, f"{value} does not fit into 64 bits")


def test_names_are_compared_without_case_and_with_accents_and_spaces(writer: Connection) -> None:
    writer.begin()
    asked = "SELECT ? = ? COLLATE utf8mb4_uca1400_nopad_as_ci"
    pairs = [("Web", "wEB"), ("É", "é"), ("é", "e"), ("web", "web "), ("😀", "😁")]
    assert [writer.fetch_one(asked, pair) for pair in pairs] == [(1,), (1,), (0,), (0,), (0,)]


def test_a_reader_refuses_to_write(driver: MariadbDriver) -> None:
    reader = driver.connect(read_only=True)
    reader.begin()
    with pytest.raises(client().Error) as caught:
        reader.execute(ADD, ("x",))
    assert kind(driver, caught.value) is Trouble.READ_ONLY
    reader.close()


def test_a_reader_keeps_its_snapshot_and_a_writer_sees_what_is_committed(
    driver: MariadbDriver, writer: Connection
) -> None:
    reader, other = driver.connect(read_only=True), driver.connect(read_only=False)
    count = "SELECT count(*) FROM entry"
    for one in (reader, other):
        one.begin()
        assert one.fetch(count, ()) == [(0,)]
    add(writer, "a")
    assert (reader.fetch(count, ()), other.fetch(count, ())) == ([(0,)], [(1,)])
    reader.rollback()
    reader.begin()
    assert reader.fetch(count, ()) == [(1,)]
    reader.close()
    other.close()


def test_rows_that_had_the_value_already_count_as_changed(writer: Connection) -> None:
    add(writer, "a")
    writer.begin()
    assert writer.execute("UPDATE entry SET text = 'a'", ()) == 1
    writer.rollback()


def test_assignments_do_not_see_each_other(writer: Connection) -> None:
    writer.begin()
    writer.execute("CREATE TEMPORARY TABLE pair (a INT, b INT)", ())
    writer.execute("INSERT INTO pair VALUES (1, 2)", ())
    writer.execute("UPDATE pair SET a = b, b = a", ())
    assert writer.fetch("SELECT a, b FROM pair", ()) == [(2, 1)]


def test_many_rows_go_in_few_statements(writer: Connection) -> None:
    writer.begin()
    before = writer.fetch_one("SHOW SESSION STATUS LIKE 'Com_insert'", ())
    assert writer.execute_many(ADD, [(str(number),) for number in range(1200)]) == 1200
    after = writer.fetch_one("SHOW SESSION STATUS LIKE 'Com_insert'", ())
    writer.commit()
    assert before is not None and after is not None
    assert int(str(after[1])) - int(str(before[1])) <= 3
    assert texts(writer) == [str(number) for number in range(1200)]
    writer.begin()
    assert writer.execute_many(RAISE, [("x", number) for number in numbers(writer)[:3]]) == 3
    writer.rollback()


def test_a_mark_in_a_transaction_is_gone_back_to(writer: Connection) -> None:
    writer.begin()
    writer.execute(ADD, ("kept",))
    writer.savepoint()
    writer.execute(ADD, ("lost",))
    writer.rollback_to_savepoint()
    writer.savepoint()
    writer.execute(ADD, ("kept, too",))
    writer.release()
    writer.commit()
    assert texts(writer) == ["kept", "kept, too"]


def test_a_query_is_broken_off_by_the_server(driver: MariadbDriver) -> None:
    reader = driver.connect(read_only=True)
    reader.begin()
    assert reader.fetch_within(SLOW, (), 100_000) is None
    assert reader.fetch_within("SELECT 1", (), 25_000_000) == [(1,)]
    reader.stop_when(lambda: False, 0.01)
    with pytest.raises(client().Error) as caught:
        reader.fetch(SLOW, ())
    assert driver.trouble(caught.value) == (Trouble.STOPPED, caught.value.args[1] + f" ({code_of(caught.value)})")
    reader.stop_when(lambda: True)
    with pytest.raises(Exception, match="its time is over") as stopped:
        reader.fetch("SELECT 1", ())
    assert driver.trouble(stopped.value) == (Trouble.STOPPED, "")
    reader.stop_when(None)
    assert reader.fetch("SELECT 1", ()) == [(1,)]
    reader.close()


def test_a_deadlock_ends_the_transaction_and_nothing_slips_in_behind_it(
    driver: MariadbDriver, writer: Connection
) -> None:
    add(writer, "a", "b")
    first, second = numbers(writer)
    other = driver.connect(read_only=False)
    for one, number in ((writer, first), (other, second)):
        one.begin()
        one.execute(RAISE, ("changed", number))
    failed: list[BaseException] = []

    def cross(one: Connection, number: int) -> None:
        try:
            one.execute(RAISE, ("crossed", number))
        except client().Error as error:
            failed.append(error)
        else:
            one.commit()

    thread = threading.Thread(target=cross, args=(other, first))
    thread.start()
    cross(writer, second)
    thread.join()
    assert [kind(driver, error) for error in failed] == [Trouble.DEADLOCK]
    loser = writer if writer.interrupted is not None else other
    assert loser.interrupted is failed[0] and not loser.in_transaction
    with pytest.raises(client().Error):
        loser.execute(ADD, ("slipped in",))
    loser.begin()
    assert loser.interrupted is None
    loser.rollback()
    assert "slipped in" not in texts(writer)
    other.close()


def test_a_lock_that_is_waited_for_too_long_ends_the_transaction(driver: MariadbDriver, writer: Connection) -> None:
    add(writer, "a")
    (number,) = numbers(writer)
    other = driver.connect(read_only=False)
    other.execute("SET SESSION innodb_lock_wait_timeout = 0", ())
    writer.begin()
    writer.execute(RAISE, ("b", number))
    other.begin()
    other.execute(ADD, ("undone",))
    with pytest.raises(client().Error) as caught:
        other.execute(RAISE, ("c", number))
    assert kind(driver, caught.value) is Trouble.BUSY
    assert other.interrupted is caught.value and not other.in_transaction
    writer.commit()
    other.begin()
    other.commit()
    assert texts(writer) == ["b"]
    other.close()


def test_a_connection_that_the_server_ended_is_told_from_a_mistake(driver: MariadbDriver, writer: Connection) -> None:
    end(driver, writer)
    writer.begin()
    with pytest.raises(client().Error) as caught:
        writer.execute(ADD, ("x",))
    assert kind(driver, caught.value) is Trouble.UNREACHABLE
    assert writer.interrupted is caught.value and writer.doubtful is None


class Cut:
    """Loses the connection at COMMIT, before the server has it or when it has done it."""

    def __init__(self, connection: Connection, *, done: bool) -> None:
        assert isinstance(connection, MariadbConnection)
        self._query = connection._query
        self._done = done
        connection._query = self.query

    def query(self, text: bytes) -> None:
        if text != b"COMMIT":
            self._query(text)
            return
        if self._done:
            self._query(text)
        raise client().Error(2013, "Lost connection to server during query")


@pytest.mark.parametrize("done", [True, False])
def test_a_commit_whose_answer_was_lost_is_looked_for_on_the_next_connection(
    driver: MariadbDriver, writer: Connection, done: bool
) -> None:
    add(writer, "before")
    Cut(writer, done=done)
    writer.begin()
    writer.execute(ADD, ("in doubt",))
    with pytest.raises(client().Error):
        writer.commit()
    mark = writer.doubtful
    assert mark is not None
    again = driver.connect(read_only=False)
    # Where it was not done, the server has the transaction still, and the next one ends it first.
    assert again.committed(mark) is done
    assert texts(again) == (["before", "in doubt"] if done else ["before"])
    assert not again.committed(Mark(connection="nobody", number=1))
    again.close()


def test_a_commit_that_changed_nothing_leaves_no_doubt(writer: Connection) -> None:
    Cut(writer, done=True)
    writer.begin()
    writer.fetch("SELECT 1", ())
    with pytest.raises(client().Error):
        writer.commit()
    assert writer.doubtful is None and writer.interrupted is not None


def test_errors_tell_keys_columns_and_kinds(driver: MariadbDriver, writer: Connection) -> None:
    def trouble(sql: str) -> tuple[Trouble, str] | None:
        writer.begin()
        with pytest.raises(client().Error) as caught:
            writer.execute(sql, ())
        writer.rollback()
        return driver.trouble(caught.value)

    insert = "INSERT INTO entry (number, text) VALUES (1, 'a'), (1, 'b')"
    assert trouble(insert) == (Trouble.DUPLICATE, "key:PRIMARY")
    assert trouble("INSERT INTO entry (text) VALUES (NULL)") == (Trouble.NULL, ".text")
    other = trouble("SELECT nothing FROM nowhere")
    assert other is not None and other[0] is Trouble.OTHER
    assert driver.trouble(ValueError("no error of the database")) is None


def test_a_server_that_is_not_there_and_one_that_refuses_us_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(CairnError) as caught:
        MariadbDriver(ServerAddress(database="d", user="u", socket=str(tmp_path / "none")))
    assert caught.value.code == "store.unreachable"
    there = shared_server().address("mysql")
    with pytest.raises(CairnError) as caught:
        MariadbDriver(ServerAddress(database="mysql", user="stranger", password="topsecret", socket=there.socket))
    assert caught.value.code == "store.no-access"
    assert "topsecret" not in str(caught.value) and "stranger" not in caught.value.message


def test_marks_that_nobody_needs_any_more_are_removed(driver: MariadbDriver, writer: Connection) -> None:
    asked = "SELECT number FROM commit_mark WHERE uuid = 'old'"
    writer.begin()
    writer.execute("INSERT INTO commit_mark (uuid, number, marked_seconds) VALUES ('old', 7, 1)", ())
    assert writer.fetch(asked, ()) == [(7,)]
    writer.commit()
    driver.connect(read_only=False).close()
    writer.begin()
    assert writer.fetch(asked, ()) == []
    writer.rollback()


def make_certificate(folder: Path, name: str) -> None:
    """An authority and a certificate of it for `name`, in a folder."""
    folder.mkdir()
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    own = ["-keyout", f"{folder}/server.key", "-out", f"{folder}/server.crt", "-subj", f"/CN={name}"]
    subprocess.run([*new, *own, "-addext", f"subjectAltName=IP:{name}"], check=True, capture_output=True)


def test_tls_takes_the_server_of_our_authority_and_no_other(tmp_path: Path) -> None:
    for folder in ("ours", "other"):
        make_certificate(tmp_path / folder, "127.0.0.1")
    port = free_port()
    server = Server(tmp_path / "server", port=port, tls=tmp_path / "ours")
    server.run("CREATE USER cairn@'127.0.0.1' IDENTIFIED BY 'topsecret' REQUIRE SSL")
    server.run("CREATE DATABASE cloud")
    server.run("GRANT ALL ON cloud.* TO cairn@'127.0.0.1'")

    def session(query: str) -> Row | None:
        address = database_at(f"mysql://cairn:topsecret@127.0.0.1:{port}/cloud{query}")
        assert isinstance(address, ServerAddress)
        return MariadbDriver(address).connect(read_only=True).fetch_one("SHOW STATUS LIKE 'Ssl_version'", ())

    assert session(f"?ssl_ca={tmp_path}/ours/server.crt") == ("Ssl_version", "TLSv1.3")
    with pytest.raises(CairnError) as caught:
        session(f"?ssl_ca={tmp_path}/other/server.crt")
    assert caught.value.code == "store.unreachable"
    with pytest.raises(CairnError) as caught:
        session("")
    assert caught.value.code == "store.no-access"
    server.stop()
