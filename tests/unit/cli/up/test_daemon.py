from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cairn.cli.errors import CliError
from cairn.cli.up.daemon import Daemon, PidFile, wait_until

DEAF = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True)\nwhile True: signal.pause()",
]
PARENT = [
    sys.executable,
    "-c",
    "import signal, subprocess, sys; "
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'], start_new_session=True); "
    "print('child', child.pid, flush=True); signal.pause()",
]
SLEEPER = [sys.executable, "-c", "import signal; print('here', flush=True); signal.pause()"]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


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
    other = subprocess.Popen(SLEEPER, stdout=subprocess.DEVNULL)
    file = tmp_path / "run" / "node.pid"
    file.parent.mkdir()
    file.write_bytes(msgspec.json.encode(PidFile(pid=other.pid, started="1", url="")))
    assert daemon.running() is None
    assert not daemon.stop()
    assert other.poll() is None
    other.kill()
    other.wait()


def test_program_whose_pid_file_was_never_written_is_found_and_stopped(daemon: Daemon, tmp_path: Path) -> None:
    started = daemon.start(SLEEPER, os.environ, "http://x")
    (tmp_path / "run" / "node.pid").unlink()
    assert wait_until(lambda: daemon.running() is not None, 10)  # a program that has only just begun shows nothing yet
    found = daemon.running()
    assert found is not None
    assert (found.pid, found.started) == (started.pid, started.started)
    assert daemon.stop()
    assert daemon.running() is None


@pytest.mark.parametrize("how", ["stop", "start"])
def test_what_a_killed_program_has_started_is_ended_with_it(daemon: Daemon, how: str) -> None:
    started = daemon.start(PARENT, os.environ, "http://x")
    daemon.await_ready(lambda: "child" in daemon.last_lines(), 10)
    child = int(daemon.last_lines().split()[-1])
    os.kill(started.pid, signal.SIGKILL)
    os.waitpid(started.pid, 0)
    assert daemon.running() is None
    assert is_alive(child)
    if how == "stop":
        assert not daemon.stop()
    else:
        daemon.start(SLEEPER, os.environ, "http://x")
    assert not is_alive(child)


def test_program_that_takes_its_time_is_killed(daemon: Daemon) -> None:
    daemon.start(DEAF, os.environ, "http://x")
    daemon.await_ready(lambda: "here" in daemon.last_lines(), 10)
    assert daemon.stop(0.2)
    assert daemon.running() is None


def test_signal_reaches_a_program_that_runs(daemon: Daemon) -> None:
    daemon.tell(signal.SIGTERM)
    daemon.start(SLEEPER, os.environ, "http://x")
    daemon.tell(signal.SIGTERM)
    assert wait_until(lambda: daemon.running() is None, 10)


def test_waiting_ends_with_the_deadline() -> None:
    times = iter([0.0, 1.0, 2.0, 3.0])
    slept: list[float] = []
    assert not wait_until(lambda: False, 2.5, monotonic=lambda: next(times), sleep=slept.append)
    assert len(slept) == 2


def test_no_pid_file_is_nothing_running(tmp_path: Path) -> None:
    assert Daemon("node", tmp_path).running() is None
