from __future__ import annotations

import pytest
from tests.unit.kernel import sample

from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.store.driver import Trouble
from cairn.kernel.store.record import info
from cairn.kernel.store.sqlite import SqliteDriver
from cairn.kernel.store.trouble import explain, overtaken, runs_again, translate


def test_a_duplicate_names_the_fields_that_another_row_has() -> None:
    error = explain(Trouble.DUPLICATE, "zone.name, zone.state", None)
    assert (error.code, error.kind) == ("store.duplicate", ErrorKind.CONFLICT)
    assert set(error.fields) == {"name", "state"}
    assert "zone: there is already a row with this name and state" in error.message


def test_the_record_that_was_written_is_named_before_what_the_database_says() -> None:
    assert explain(Trouble.DUPLICATE, "", info(sample.Host)).message.startswith("host: ")


@pytest.mark.parametrize(
    ("about", "story"),
    [
        ("host.zone_uuid='gone'", "zone_uuid points to \"'gone'\", which does not exist"),
        ("3 hosts", "still in use by 3 hosts"),
        ("", "a row that it points to does not exist, or rows still point to it"),
    ],
)
def test_a_reference_tells_which_end_of_it_is_wrong(about: str, story: str) -> None:
    error = explain(Trouble.REFERENCE, about, info(sample.Host))
    assert error.code == "store.reference"
    assert story in error.message


@pytest.mark.parametrize(
    ("trouble", "code", "kind"),
    [
        (Trouble.NULL, "store.null", ErrorKind.INTERNAL),
        (Trouble.FULL, "store.full", ErrorKind.EXHAUSTED),
        (Trouble.READ_ONLY, "store.read-only", ErrorKind.UNAVAILABLE),
        (Trouble.BUSY, "store.busy", ErrorKind.UNAVAILABLE),
        (Trouble.BROKEN, "store.broken", ErrorKind.UNAVAILABLE),
        (Trouble.OTHER, "store.refused", ErrorKind.INTERNAL),
    ],
)
def test_every_trouble_is_somebodys(trouble: Trouble, code: str, kind: ErrorKind) -> None:
    error = explain(trouble, "zone.name", None)
    assert (error.code, error.kind) == (code, kind)


def test_an_error_that_is_not_the_databases_stays_as_it_is() -> None:
    error = ValueError("no")
    assert translate(error, SqliteDriver(None)) is error


def test_an_error_of_the_database_is_the_cause_of_ours() -> None:
    error = OverflowError("Python int too large")
    translated = translate(error, SqliteDriver(None))
    assert isinstance(translated, CairnError)
    assert (translated.code, translated.__cause__) == ("store.refused", error)


def test_only_what_another_writer_may_have_caused_is_tried_again_and_not_for_ever() -> None:
    taken = explain(Trouble.DUPLICATE, "zone.name", None)
    assert [runs_again(taken, runs) for runs in (1, 2, 3)] == [True, True, False]
    assert [runs_again(overtaken("zone"), runs) for runs in (1, 5, 6)] == [True, True, False]
    assert not runs_again(explain(Trouble.FULL, "", None), 1)
    assert not runs_again(ValueError("no"), 1)
    assert not runs_again(None, 1)


def test_who_was_overtaken_too_often_is_told_to_try_again() -> None:
    error = overtaken("host")
    assert (error.code, error.kind, error.details) == ("store.overtaken", ErrorKind.UNAVAILABLE, {"table": "host"})
