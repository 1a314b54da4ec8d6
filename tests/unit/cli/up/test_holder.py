from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest

from cairn.cli.errors import CliError
from cairn.cli.up.holder import Holder, holder
from cairn.kernel.membership import NODE_LOCK, FolderLock

_WORK = """
import pathlib, signal, sys
from cairn.kernel.membership import FolderLock
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
lock = FolderLock(pathlib.Path(sys.argv[1]))
print("here", flush=True)
signal.pause()
"""


@contextmanager
def working(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the folder's lock, with these words on its command line."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with NamedTemporaryFile("w", suffix=".py") as program:
        program.write(_WORK)
        program.flush()
        command = [sys.executable, program.name, str(folder), *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(
    ("command", "word", "is_it"),
    [
        ("/venv/bin/python /venv/bin/cairn serve --data-dir /x", "serve", True),
        ("python -m cairn.cli.main serve", "serve", True),
        ("python -m cairn.simulator.main --port 7190", "simulator", True),
        ("/usr/bin/cairn simulator", "simulator", True),
        ("python -m cairn.cli.main shell", "serve", False),
        ("backup --observe /var/lib/cairn/x", "serve", False),
        ("other serve", "serve", False),
    ],
)
def test_program_is_known_by_its_command_line(command: str, word: str, is_it: bool) -> None:
    assert Holder(Path("x"), 1, tuple(command.split())).runs(word) is is_it


def test_folder_in_which_nothing_works_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / NODE_LOCK) is None
    FolderLock(tmp_path).release()
    assert holder(tmp_path / NODE_LOCK) is None


def test_number_of_a_dead_process_that_another_has_now_is_no_holder(tmp_path: Path) -> None:
    (tmp_path / NODE_LOCK).write_text(f"{os.getpid()}\n")
    assert holder(tmp_path / NODE_LOCK) is None


def test_node_that_works_in_the_folder_is_found_and_stopped(tmp_path: Path) -> None:
    with working(tmp_path, "cairn", "serve") as process:
        found = holder(tmp_path / NODE_LOCK)
        assert found is not None
        assert (found.pid, found.runs("serve"), found.runs("simulator")) == (process.pid, True, False)

        found.stop("serve")

        assert process.wait() < 0
    assert holder(tmp_path / NODE_LOCK) is None


def test_node_that_does_not_hear_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cairn.cli.up.holder.GOODBYE_SECONDS", 0.3)
    with working(tmp_path, "cairn", "serve", "deaf") as process:
        found = holder(tmp_path / NODE_LOCK)
        assert found is not None
        found.stop("serve")
        assert process.wait() == -9


def test_other_program_is_left_alone_and_named(tmp_path: Path) -> None:
    with working(tmp_path, "backup-of-something") as process:
        found = holder(tmp_path / NODE_LOCK)
        assert found is not None
        with pytest.raises(
            CliError, match=f"Process {process.pid} .*backup-of-something.* works in {tmp_path}"
        ) as told:
            found.stop("serve")
        assert told.value.problem.code == "up.folder-in-use"
        assert process.poll() is None


def test_holder_whose_number_is_wrong_is_not_guessed_at(tmp_path: Path) -> None:
    with working(tmp_path, "cairn", "serve") as process:
        (tmp_path / NODE_LOCK).write_text("1\n")
        found = holder(tmp_path / NODE_LOCK)
        assert found is not None
        assert found.pid is None
        with pytest.raises(CliError, match="cannot be seen from here"):
            found.stop("serve")
        assert process.poll() is None
