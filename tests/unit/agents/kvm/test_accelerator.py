from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.agents.fakes import FakeRunner

from cairn.agents.errors import AgentError
from cairn.agents.kvm.accelerator import Accelerator, Verdict
from cairn.agents.programs import Completed
from cairn.agents.protocol import codes
from cairn.agents.state import Record


class World:
    def __init__(self, folder: Path, returncode: int = 85) -> None:
        self.folder = folder
        self.runner = FakeRunner({"qemu-system-x86_64": Completed(returncode, "", "no such thing")})
        (folder / "kvm").touch()
        (folder / "boot").write_text("boot1\n")

    def accelerator(self) -> Accelerator:
        record = Record(self.folder / "accelerator.json", Verdict)
        return Accelerator(self.runner, record, device=self.folder / "kvm", boot_id=self.folder / "boot")


async def test_guest_that_gets_through_makes_it_kvm(tmp_path: Path) -> None:
    accelerator = World(tmp_path).accelerator()
    assert (await accelerator.verdict()).kvm
    assert [await accelerator.choose(wish) for wish in ("auto", "kvm", "tcg")] == ["kvm", "kvm", "tcg"]


async def test_guest_that_fails_makes_it_tcg_with_qemus_words(tmp_path: Path) -> None:
    verdict = await World(tmp_path, returncode=1).accelerator().verdict()
    assert not verdict.kvm
    assert "no such thing" in verdict.note


async def test_guest_that_does_not_get_through_in_time_makes_it_tcg(tmp_path: Path) -> None:
    world = World(tmp_path)

    class Slow(FakeRunner):
        async def run(self, *_: object, **__: object) -> Completed:
            raise AgentError(codes.COMMAND_FAILED, "did not end")

    world.runner = Slow()
    accelerator = world.accelerator()
    assert "was not done after" in (await accelerator.verdict()).note
    with pytest.raises(AgentError) as caught:
        await accelerator.choose("kvm")
    assert caught.value.code == codes.MISSING_ACCELERATOR


async def test_machine_without_the_device_is_not_probed(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "kvm").unlink()
    assert not (await world.accelerator().verdict()).kvm
    assert world.runner.ran == []


async def test_probe_runs_once_per_boot_of_the_machine(tmp_path: Path) -> None:
    world = World(tmp_path)
    for _ in range(2):
        await world.accelerator().verdict()
    assert len(world.runner.ran) == 1
    (tmp_path / "boot").write_text("boot2\n")
    await world.accelerator().verdict()
    assert len(world.runner.ran) == 2
