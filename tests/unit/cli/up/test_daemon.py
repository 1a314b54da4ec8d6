from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cairn.cli.errors import CliError
from cairn.cli.up.daemon import Daemon, wait_until

SLEEPER = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon("node", tmp_path)
    yield daemon
    daemon.stop()


def test_program_is_started_detached_found_again_and_stopped(daemon: Daemon, tmp_path: Path) -> None:
    started = daemon.start(SLEEPER, os.environ, "http://x")
    assert os.getsid(started.pid) == started.pid
    again = Daemon("node", tmp_path)
    assert again.running() == started
    again.await_ready(lambda: "here" in daemon.last_lines(), 10)
    assert again.stop()
    assert daemon.running() is None
    assert not daemon.stop()


def test_program_that_ends_is_told_with_the_end_of_its_log(daemon: Daemon) -> None:
    daemon.start([sys.executable, "-c", "print('no room')"], os.environ, "http://x")
    with pytest.raises(CliError, match="has ended") as caught:
        daemon.await_ready(lambda: False, 10)
    assert "no room" in caught.value.problem.detail


def test_number_of_an_old_pid_file_that_another_program_has_now_is_left_alone(daemon: Daemon, tmp_path: Path) -> None:
    started = daemon.start(SLEEPER, os.environ, "http://x")
    file = tmp_path / "run" / "node.pid"
    file.write_text(file.read_text().replace(started.started, "1"))
    assert daemon.running() is None
    assert not daemon.stop()
    assert Path(f"/proc/{started.pid}").exists()
    os.kill(started.pid, 9)
    os.waitpid(started.pid, 0)


def test_waiting_ends_with_the_deadline() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    slept: list[float] = []
    assert not wait_until(lambda: False, 2.5, monotonic=lambda: next(times), sleep=slept.append)
    assert len(slept) == 2


def test_no_pid_file_is_nothing_running(tmp_path: Path) -> None:
    assert Daemon("node", tmp_path).running() is None
