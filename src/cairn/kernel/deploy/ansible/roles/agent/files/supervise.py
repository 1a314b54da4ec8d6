#!/usr/bin/python3
"""Keeps a program running on a machine that has no systemd.

    supervise.py start NAME --log FILE -- PROGRAM ARGUMENT...    "started", or "running" if it runs already
    supervise.py stop NAME                                       "stopped", or "absent" if it did not run
    supervise.py restart NAME                                    as stop, then as it was started; starts nothing new
    supervise.py run NAME --lock DESCRIPTOR                      the supervisor itself; only for start

A lock on /run/NAME.supervisor tells that NAME is supervised; it ends with the supervisor however it ends.
The file holds the supervisor's process id and how it was started.
Runs on the managed machine with its own Python; imports nothing of cairn.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, TypedDict

RUN_FOLDER = os.environ.get("CAIRN_RUN_FOLDER", "/run")
LOG_LIMIT_BYTES = 10_000_000  # then the log is moved to LOG.1, once
LOOK_SECONDS = 60.0  # how often the log's size is looked at
STOP_SECONDS = 15.0  # a program that does not end by then is killed
QUICK_SECONDS = 10.0  # a program that ends sooner is broken: wait longer and longer before it is started again
LONGEST_PAUSE_SECONDS = 30.0
_RELEASE_LOOK_SECONDS = 0.05


class State(TypedDict):
    """The content of the lock file."""

    pid: int
    log: str
    command: list[str]


class Stop(Exception):
    """Raised in the supervisor when the program is to end."""


def start(name: str, log: str, command: Sequence[str]) -> str:
    """Start the supervisor of `name` in the background, unless there is one."""
    lock = os.open(_lock_path(name), os.O_RDWR | os.O_CREAT, 0o644)
    if not _take(lock):
        return "running"
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            _become(name, lock, log, command)
        os._exit(0)
    os.wait()
    os.close(lock)  # the supervisor has it now; a lock lives as long as any copy of its descriptor
    os.close(writing)
    os.read(reading, 1)  # ends when the supervisor has become a program of its own
    os.close(reading)
    return "started"


def run(name: str, lock: int) -> None:
    """Be the supervisor of `name`, whose lock is held by the descriptor `lock`, until somebody stops it."""
    os.set_inheritable(lock, False)
    state = _state(name)
    signal.signal(signal.SIGTERM, _raise_stop)
    with contextlib.suppress(Stop):
        supervise(state["log"], state["command"])


def stop(name: str) -> str:
    """End the supervisor of `name` and its program; returns when both are gone."""
    try:
        lock = os.open(_lock_path(name), os.O_RDWR)
    except FileNotFoundError:
        return "absent"
    try:
        if _take(lock):
            return "absent"
        os.kill(_state(name)["pid"], signal.SIGTERM)
        while not _take(lock):
            time.sleep(_RELEASE_LOOK_SECONDS)  # noqa: TID251  no event loop here
        return "stopped"
    finally:
        os.close(lock)


def restart(name: str) -> str:
    """Stop, and start with the same program again."""
    try:
        state = _state(name)
    except (FileNotFoundError, ValueError):
        return "absent"
    if stop(name) == "absent":
        return "absent"
    return start(name, state["log"], state["command"])


def supervise(log: str, command: Sequence[str]) -> None:
    """Run `command` again and again until `Stop` is raised here."""
    pause = 1.0
    while True:
        began = time.monotonic()
        _run_once(log, command)
        pause = 1.0 if time.monotonic() - began > QUICK_SECONDS else min(pause * 2, LONGEST_PAUSE_SECONDS)
        time.sleep(pause)  # noqa: TID251  no event loop here


def _run_once(log: str, command: Sequence[str]) -> None:
    rotate(log)
    with open(log, "ab") as output:
        try:
            program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        except OSError as error:
            output.write(f"supervisor: {command[0]}: {error.strerror}\n".encode())
            return
        try:
            while not _ended(program, LOOK_SECONDS):
                rotate(log)
        except Stop:
            _end(program)
            raise
        output.write(f"supervisor: {command[0]} ended with {program.returncode}\n".encode())


def _ended(program: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end for so many seconds. `Popen.wait` with a time limit would look 20 times a second."""
    process = os.pidfd_open(program.pid)
    try:
        ended = bool(select.select([process], [], [], seconds)[0])
    finally:
        os.close(process)
    if ended:
        program.wait()
    return ended


def _end(program: subprocess.Popen[bytes]) -> None:
    program.terminate()
    if not _ended(program, STOP_SECONDS):
        program.kill()
        program.wait()


def rotate(log: str) -> None:
    """Bound the log. The program goes on writing: it appends, so an emptied file is fine."""
    if os.path.exists(log) and os.path.getsize(log) > LOG_LIMIT_BYTES:
        shutil.copyfile(log, log + ".1")
        os.truncate(log, 0)


def _become(name: str, lock: int, log: str, command: Sequence[str]) -> NoReturn:
    """Turn this process into the supervisor: a program whose command line is not taken for the supervised one's."""
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"pid": os.getpid(), "log": log, "command": list(command)}).encode(), 0)
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.set_inheritable(lock, True)
        arguments = ["-IS", os.path.abspath(__file__), "run", name, "--lock", str(lock)]
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606  no shell is wanted
    finally:
        os._exit(1)


def _raise_stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stop


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _state(name: str) -> State:
    with open(_lock_path(name), encoding="utf-8") as file:
        state: State = json.load(file)
    return state


def _lock_path(name: str) -> str:
    return os.path.join(RUN_FOLDER, f"{name}.supervisor")


def main(arguments: Sequence[str]) -> int:
    """Carry out one action of the command line and print what it changed; 0 unless it raises."""
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["start", "stop", "restart", "run"])
    parser.add_argument("name")
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--lock", type=int)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    given = parser.parse_args(arguments[:end])
    if given.action == "start":
        if not arguments[end + 1 :]:
            parser.error("start needs -- and a program after it")
        print(start(given.name, given.log, arguments[end + 1 :]))
    elif given.action == "run":
        run(given.name, given.lock)
    else:
        print({"stop": stop, "restart": restart}[given.action](given.name))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
