from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from cairn.kernel.flow.step import NOTHING, Nothing, TransactionStep
from cairn.kernel.store.store import Tx
from cairn.testing.faults import MANIFEST, Fault, KillingProbe


class _Step(TransactionStep[Nothing, Nothing]):
    name = "test.faults"
    title = "doing nothing"
    nothing_to_undo = "it does nothing"

    def do(self, tx: Tx, given: Nothing) -> Nothing:
        return NOTHING


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda process, number: seen.append((process, number)))
    return seen


ME = (os.getpid(), signal.SIGKILL)


def test_without_a_file_nothing_happens(tmp_path: Path, kills: list[tuple[int, int]]) -> None:
    probe = KillingProbe(tmp_path / "faults")
    probe.doing("vm.create", _Step())
    probe.done("vm.create", _Step())
    probe.journal("vm.create", "before")
    assert kills == []


def test_named_step_kills_once(tmp_path: Path, kills: list[tuple[int, int]]) -> None:
    file = tmp_path / "faults"
    file.write_text("vm.create step test.faults after")
    probe = KillingProbe(file)
    probe.doing("vm.create", _Step())
    probe.done("vm.stop", _Step())
    assert kills == []
    probe.done("vm.create", _Step())
    probe.done("vm.create", _Step())
    assert kills == [ME]


def test_journal_writes_are_counted_from_when_the_file_is_there(tmp_path: Path, kills: list[tuple[int, int]]) -> None:
    file = tmp_path / "faults"
    probe = KillingProbe(file)
    probe.journal("vm.create", "before")
    file.write_text("vm.create journal 2 before")
    probe.journal("vm.create", "before")
    probe.journal("vm.create", "after")
    probe.journal("vm.stop", "before")
    assert kills == []
    probe.journal("vm.create", "before")
    assert kills == [ME]


def test_line_that_names_no_place_is_refused() -> None:
    with pytest.raises(ValueError, match="would fit"):
        Fault.parse("vm.create stap x before")


def test_it_is_a_plugin() -> None:
    assert MANIFEST.name == "faults"
