"""The probe that finds whether guests really run under KVM on this machine.

``/dev/kvm`` may be there, answer its ioctls, and even run a few instructions, and yet not carry an ordinary guest:
some machines only emulate the guest, a million times slower than a processor. So a tiny guest is booted that does what
any kernel does first (64-bit mode, paging, timer interrupts, HLT), and enough of plain work that an emulator cannot
finish it in time: a hundred million turns of a loop, a tenth of a second on a processor, minutes on an emulator. Only
a guest that gets through within the limit makes it ``kvm``. The answer holds until the machine is booted again.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from msgspec import Struct

from cairn.agents import log
from cairn.agents.blocking import in_thread
from cairn.agents.errors import AgentError
from cairn.agents.programs import ProgramRunner
from cairn.agents.protocol import codes
from cairn.agents.state import Record

PROBE_SECONDS = 6.0

#: `probe.S`, assembled.
_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cbf0010b90018fcf3abc70600100320c70600200330c7060030830066b8001000000f22d80f20"
    "e06683c8200f22e066b9800000c00f32660d000100000f300f0116f87c0f20c0660d010000800f22c0ea607c080066b81000"
    "8ed88ec08ed0bf00420000b8d37c000066890766c74702080066c74704008ec1e8106689470631c089470889470c0f011c25"
    "fe7c0000b011e620b020e621b004e621b001e621b0fee621b034e643b0a9e640b004e640b900e1f505ffc975fc31dbfbf483"
    "fb1072fab02ae6f4f4ebfdffc3b020e62048cf0f1f4400000000000000000000ffff0000009aaf00ffff00000092af001700"
    "e07c0000ff0f0040"
)
#: isa-debug-exit ends QEMU with ``(value << 1) | 1``; the probe writes 0x2a.
_PASSED = (0x2A << 1) | 1


class Verdict(Struct, frozen=True):
    """The result of the probe, and in which boot of the machine it was found."""

    boot: str
    kvm: bool
    note: str = ""  #: why not, in a sentence


class Accelerator:
    """Finds whether KVM works, and remembers the answer."""

    def __init__(
        self,
        runner: ProgramRunner,
        record: Record[Verdict],
        *,
        device: Path = Path("/dev/kvm"),
        boot_id: Path = Path("/proc/sys/kernel/random/boot_id"),
    ) -> None:
        self._runner = runner
        self._record = record
        self._device = device
        self._boot_id = boot_id
        self._lock = asyncio.Lock()
        self._verdict: Verdict | None = None

    async def verdict(self) -> Verdict:
        """Probe once per boot of the machine."""
        async with self._lock:
            if self._verdict is None:
                boot = (await in_thread(self._boot_id.read_text)).strip()
                saved = await in_thread(self._record.load)
                self._verdict = saved if saved is not None and saved.boot == boot else await self._probe(boot)
                await in_thread(self._record.save, self._verdict)
            return self._verdict

    async def choose(self, wish: str) -> str:
        """``kvm`` or ``tcg`` for a VM that wants ``kvm``, ``tcg`` or ``auto``.

        Raises:
            AgentError: ``agent.missing-accelerator``, ``agent.bad-request``.
        """
        if wish == "tcg":
            return "tcg"
        if wish not in ("auto", "kvm"):
            raise AgentError(codes.BAD_REQUEST, f"accelerator: found {wish!r}; auto, kvm or tcg would fit.")
        verdict = await self.verdict()
        if wish == "kvm" and not verdict.kvm:
            raise AgentError(codes.MISSING_ACCELERATOR, f"KVM was asked for. {verdict.note} Ask for auto or tcg.")
        return "kvm" if verdict.kvm else "tcg"

    async def _probe(self, boot: str) -> Verdict:
        if not self._device.exists():
            return Verdict(
                boot, kvm=False, note=f"{self._device} does not exist: virtualization is missing or not enabled."
            )
        with tempfile.NamedTemporaryFile(prefix="cairn-probe-") as image:
            image.write(_CODE.ljust(510, b"\0") + b"\x55\xaa")
            image.flush()
            note = await self._run_guest(image.name)
        log.info("accelerator.probed", kvm=not note, note=note)
        return Verdict(boot, kvm=not note, note=note)

    async def _run_guest(self, image: str) -> str:
        """Boot the guest. Returns why it did not reach its end; empty if it did."""
        argv = [
            *("qemu-system-x86_64", "-accel", "kvm", "-m", "16", "-display", "none", "-nodefaults", "-no-user-config"),
            *("-nic", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
            *("-drive", f"file={image},format=raw,if=ide,readonly=off,snapshot=on"),
        ]
        try:
            done = await self._runner.run(argv, check=False, timeout_seconds=PROBE_SECONDS)
        except AgentError as error:
            if error.code == codes.COMMAND_FAILED:
                return f"{self._device} is there, but a small guest under it was not done after {PROBE_SECONDS:g} s."
            return error.message
        if done.returncode == _PASSED:
            return ""
        said = done.stderr.strip()[-200:] or "nothing"
        return f"{self._device} is there, but a guest under it ended with {done.returncode}; QEMU said: {said}."
