from __future__ import annotations

from pathlib import Path

import pytest

from cairn.kernel.error import CairnError
from cairn.lab.machine import Machine, wait_until


def _process(proc: Path, pid: int, arguments: str, numbers: str, state: str = "S") -> None:
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "cmdline").write_bytes(arguments.replace(" ", "\0").encode() + b"\0")
    (folder / "status").write_text(f"Name:\tx\nNSpid:\t{numbers}\n")
    (folder / "stat").write_text(f"{pid} (a (b) c) {state} 1 1")
    (folder / "ns/pid").symlink_to("pid:[42]")


def test_processes_are_read_with_their_numbers_in_nested_namespaces(tmp_path: Path) -> None:
    _process(tmp_path, 77, "/bin/sh init", "77\t1")
    (tmp_path / "meminfo").touch()
    (found,) = Machine(tmp_path).processes()
    assert (found.pid, found.arguments, found.numbers) == (77, ("/bin/sh", "init"), (77, 1))
    assert (found.pid_namespace, found.net_namespace) == ("pid:[42]", "")


def test_process_that_ends_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "5").mkdir()
    assert Machine(tmp_path).processes() == []


@pytest.mark.parametrize(("state", "alive"), [("S", True), ("D", True), ("Z", False), ("X", False)])
def test_zombie_is_not_alive(tmp_path: Path, state: str, alive: bool) -> None:
    _process(tmp_path, 8, "x", "8", state)
    assert Machine(tmp_path).alive(8) is alive
    assert not Machine(tmp_path).alive(9)


def test_mount_points_with_spaces(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text("1 0 8:1 / / rw - ext4 d rw\n2 1 0:3 / /a\\040b rw - tmpfs t rw\n")
    assert Machine(tmp_path).mount_points() == [Path("/"), Path("/a b")]


def test_failed_command_tells_what_it_said() -> None:
    with pytest.raises(CairnError) as caught:
        Machine().run("sh", "-c", "echo broken >&2; exit 3")
    assert caught.value.code == "lab.command-failed"
    assert "broken" in caught.value.message


def test_missing_program_is_a_failed_command() -> None:
    with pytest.raises(CairnError) as caught:
        Machine().run("cairn-no-such-program")
    assert caught.value.code == "lab.command-failed"


def test_commands_do_not_inherit_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert "SECRET" not in Machine().run("env")


def test_waiting_ends_as_soon_as_it_holds() -> None:
    answers = iter([False, False, True])
    slept: list[float] = []
    wait_until(lambda: next(answers), "it is so", timeout_seconds=9, now=lambda: 0, sleep=slept.append)
    assert len(slept) == 2


def test_waiting_in_vain_ends_at_the_deadline() -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    with pytest.raises(CairnError) as caught:
        wait_until(lambda: False, "it is so", timeout_seconds=2, now=lambda: clock[0], sleep=sleep)
    assert caught.value.code == "lab.timeout"
    assert 2 <= clock[0] < 2.2
