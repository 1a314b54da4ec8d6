from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from cairn.agents import epochs as module
from cairn.agents.epochs import Epochs
from cairn.agents.errors import AgentError
from cairn.agents.protocol import codes
from cairn.agents.protocol.fence import Fence


def fence(epoch: int, resource: str = "vm:a") -> Fence:
    return Fence(resource=resource, epoch=epoch, node="n")


async def refused(epochs: Epochs, one: Fence) -> bool:
    try:
        await epochs.admit([one])
    except AgentError as error:
        assert error.code == codes.STALE_EPOCH
        return True
    return False


async def test_lower_epoch_is_refused_also_by_the_next_process(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "epochs")
    for epoch in (5, 7, 7):
        await epochs.admit([fence(epoch)])
    assert await refused(epochs, fence(6))
    again = Epochs(tmp_path / "epochs")
    assert await refused(again, fence(6))
    assert not await refused(again, fence(6, "vm:b"))
    assert not await refused(again, fence(7))


async def test_epoch_is_on_the_disk_before_the_command_begins(tmp_path: Path) -> None:
    await Epochs(tmp_path / "epochs").admit([fence(5)])
    assert (tmp_path / "epochs").read_text() == "5 vm:a\n"


async def test_command_that_one_of_its_fences_refuses_leaves_no_trace(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "epochs")
    await epochs.admit([fence(5, "machine:m"), fence(5)])
    for refusing in ([fence(6, "machine:m"), fence(4)], [fence(4, "machine:m"), fence(6)]):
        with pytest.raises(AgentError, match="epoch 4"):
            await epochs.admit(refusing)
    assert (tmp_path / "epochs").read_text() == "5 machine:m\n5 vm:a\n"
    await epochs.admit([fence(5, "machine:m"), fence(5)])


async def test_same_owner_writes_once(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "epochs")
    await epochs.admit([fence(5)])
    (tmp_path / "epochs").unlink()
    await epochs.admit([fence(5)])
    assert not (tmp_path / "epochs").exists()


async def test_commands_that_come_together_wait_for_one_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writings: list[bytes] = []
    real = module._append

    def counting(path: Path, lines: bytes) -> None:
        writings.append(lines)
        real(path, lines)

    monkeypatch.setattr(module, "_append", counting)
    epochs = Epochs(tmp_path / "epochs")
    await epochs.admit([fence(1, "vm:first")])
    await asyncio.gather(*(epochs.admit([fence(1, f"vm:{number}")]) for number in range(20)))
    assert sum(lines.count(b"\n") for lines in writings) == 20
    assert len(writings) <= 2
    assert len((tmp_path / "epochs").read_text().splitlines()) == 21


async def test_command_that_is_overtaken_while_its_epoch_is_written_is_refused(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "epochs")
    lower = asyncio.ensure_future(refused(epochs, fence(5)))
    higher = asyncio.ensure_future(refused(epochs, fence(6)))
    assert (await lower, await higher) == (True, False)


async def test_file_stays_small_and_forgets_what_was_commanded_longest_ago(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path / "epochs", most=4)
    for number in range(30):
        await epochs.admit([fence(9, f"vm:{number}")])
    assert len((tmp_path / "epochs").read_text().splitlines()) <= 8
    again = Epochs(tmp_path / "epochs", most=4)
    assert await refused(again, fence(8, "vm:29"))
    assert not await refused(again, fence(8, "vm:0"))


@pytest.mark.parametrize("end", ["6 vm:a", "7", "", "x vm:a\n", "9 \n", "9" * 5000 + " vm:a\n"])
async def test_broken_line_is_passed_over_and_the_file_goes_on(tmp_path: Path, end: str) -> None:
    (tmp_path / "epochs").write_text(f"5 vm:a\n{end}")
    epochs = Epochs(tmp_path / "epochs")
    assert await refused(epochs, fence(4))
    await epochs.admit([fence(6)])
    assert await refused(Epochs(tmp_path / "epochs"), fence(5))


async def test_epoch_that_cannot_be_written_counts_all_the_same_and_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "full")

    epochs = Epochs(tmp_path / "epochs")
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_atomically", full)
        await epochs.admit([fence(5)])
        assert await refused(epochs, fence(4))
    await epochs.admit([fence(1, "vm:b")])
    assert (tmp_path / "epochs").read_text() == "5 vm:a\n1 vm:b\n"
