"""The command ``cairn simulator``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cairn.kernel.membership import FolderLock
from cairn.simulator.main import simulator


def test_help_tells_where_the_hosts_are() -> None:
    result = CliRunner().invoke(simulator, ["--help"])
    assert result.exit_code == 0
    for word in ("--hosts", "--state", "--seed", "sim-0001", "backup", "/inspect", "/dials"):
        assert word in result.output


@pytest.mark.parametrize("options", [["--hosts", "-1"], ["--port", "70000"], ["--cpus", "0"]])
def test_number_out_of_range_is_refused(options: list[str]) -> None:
    result = CliRunner().invoke(simulator, options)
    assert result.exit_code == 2
    assert "range" in result.output


def test_state_file_that_holds_no_world_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("nothing")
    result = CliRunner().invoke(simulator, ["--state", str(tmp_path / "state")])
    assert result.exit_code == 1
    assert "Remove it" in result.output


def test_world_s_file_is_for_one_simulator_at_a_time(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, "world.json.lock")
    result = CliRunner().invoke(simulator, ["--state", str(tmp_path / "world.json")])
    lock.release()
    assert result.exit_code == 1
    assert f"works with {tmp_path} already" in result.output
