from __future__ import annotations

import msgspec

from cairn.kernel.readiness import Readiness


def test_reasons_keep_a_node_from_being_ready_and_loops_that_are_behind_do_not() -> None:
    assert Readiness().ready
    assert Readiness(behind=["job cleaning"]).ready
    assert not Readiness(reasons=["the database cannot be written"]).ready


def test_answer_of_another_version_is_understood() -> None:
    assert msgspec.json.decode(b'{"status":"ready"}', type=Readiness) == Readiness()
