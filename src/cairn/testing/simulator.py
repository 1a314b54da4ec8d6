"""A simulator process for tests: started on a free port, stopped at the end."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from msgspec import Struct

from cairn.kernel.agent.client import AgentEndpoint


class SimulatorProcess(Struct, frozen=True):
    """A running simulator."""

    base_url: str  #: ``http://127.0.0.1:PORT``
    process: subprocess.Popen[str]

    def endpoint(self, host: str) -> AgentEndpoint:
        """The agent of a host (``sim-0001``, ``backup``)."""
        return AgentEndpoint(f"{self.base_url}/hosts/{host}")

    def stop(self, *, kill: bool = False) -> None:
        """End the process (`kill`: without letting it save its world), and wait for that. Safe to repeat."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            self.process.wait(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_simulator(*, hosts: int = 10, seed: int = 0, state: Path | None = None, port: int = 0) -> SimulatorProcess:
    """Start a simulator, and return when it answers.

    Args:
        hosts: how many.
        seed: of random faults.
        state: a file that keeps the world; None: it is gone with the process.
        port: 0: any free one.

    Raises:
        RuntimeError: it did not start; its words are in the message.
    """
    command = [sys.executable, "-m", "cairn.simulator.main", "--port", str(port), "--hosts", str(hosts)]
    command += ["--seed", str(seed), *(["--state", str(state)] if state else [])]
    with TemporaryFile("w+") as errors:  # not a pipe: nobody reads it while the simulator runs
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1)
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            process.wait()
            process.stdout.close()
            errors.seek(0)
            raise RuntimeError(f"the simulator did not start: {errors.read().strip()}")
    return SimulatorProcess(base_url=found.group(), process=process)


@contextmanager
def running_simulator(*, hosts: int = 10, seed: int = 0, state: Path | None = None) -> Iterator[SimulatorProcess]:
    """A simulator for the length of a ``with`` block."""
    simulator = start_simulator(hosts=hosts, seed=seed, state=state)
    try:
        yield simulator
    finally:
        simulator.stop()
