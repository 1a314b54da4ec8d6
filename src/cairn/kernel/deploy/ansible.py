"""Ansible runs: a playbook over some machines, with progress, a deadline, and an error that names what failed.

Each run is a child process (`cairn.kernel.deploy.playbook`) with a folder of its own::

    <data folder>/runs/<id>/    mode 0700: the inventory with passwords and keys, Ansible's scratch files. Removed when
                                the run ends; what a crash of the node left is removed at the next start
    <data folder>/logs/         the last runs' output, mode 0600

Secrets travel in the inventory file only: command lines can be seen by everybody on the machine, and logs are kept.
Tasks that handle secrets say ``no_log``; passwords are struck out of what is kept all the same.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from cairn.kernel.clock import Clock, SystemClock
from cairn.kernel.deploy.inventory import Machine, OperatorRoles, Variable, inventory_text
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.order import RunEnded, RunLine, RunOrder, TaskFailed, TaskStarted
from cairn.kernel.deploy.ssh import check_target
from cairn.kernel.error import CairnError, ErrorKind

SHARED_ROLES = Path(__file__).parent / "ansible" / "roles"
KEPT_LOGS = 50  #: runs whose output is kept
LOG_LIMIT_BYTES = 1_000_000  #: of one run's output, its end
_RUNNER = (sys.executable, "-m", "cairn.kernel.deploy.playbook")
_GRACE_SECONDS = 10.0
_LINE_LIMIT_BYTES = 1 << 20
_SHORTEST_SECRET = 4  # striking out a shorter one would garble every word that it is part of

#: Called from the event loop with the task's name and a percentage, 0 to 100.
Progress = Callable[[str, int], None]


class DeployResult(Struct, frozen=True, kw_only=True):
    """The result of a run that succeeded on every machine."""

    ok: int  #: tasks that found or made what they want, over all machines
    changed: int  #: tasks that changed something; 0 if all was as it should be
    seconds: float
    log_path: Path


class Deployer:
    """Runs playbooks on machines.

    Args:
        folder: for runs and logs; made when missing. One node at a time may use it.
        known_hosts: pinned host keys; a machine must be pinned before a run (`ssh.reach`).
        clock: for times in logs' names and in results.
        forks: how many machines one run works on at the same time.
        max_runs: how many runs go on at the same time; more wait for their turn.
        operator: an operator's own roles, by setting.
        remote_python: the Python on machines.
    """

    def __init__(
        self,
        folder: Path,
        known_hosts: KnownHosts,
        *,
        clock: Clock | None = None,
        forks: int = 10,
        max_runs: int = 4,
        operator: OperatorRoles | None = None,
        remote_python: str = "/usr/bin/python3",
    ) -> None:
        self._folder = folder.absolute()
        self._known_hosts = known_hosts
        self._clock = clock or SystemClock()
        self._forks = forks
        self._turns = asyncio.Semaphore(max_runs)
        self._operator = operator
        self._remote_python = remote_python
        shutil.rmtree(self._runs, ignore_errors=True)
        for made in (self._folder, self._runs, self._logs):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        """Where runs and logs are; other code that prepares files for runs may keep them here."""
        return self._folder

    @property
    def operator_folders(self) -> list[Path]:
        """The folder of the operator's own roles; none without the setting."""
        return [self._operator.path] if self._operator is not None else []

    @property
    def _runs(self) -> Path:
        return self._folder / "runs"

    @property
    def _logs(self) -> Path:
        return self._folder / "logs"

    async def run(
        self,
        playbook: Path,
        machines: Sequence[Machine],
        variables: Mapping[str, Variable] | None = None,
        *,
        on_progress: Progress | None = None,
        timeout_seconds: float = 900.0,
    ) -> DeployResult:
        """Run `playbook` on all `machines` at once. Safe to repeat as far as the playbook is.

        Cancelling the caller ends all processes of the run; work on a machine may be left half done.

        Args:
            playbook: its play should say ``hosts: all``; roles next to it and our shared ones are found.
            machines: at least one.
            variables: for all machines.
            on_progress: hears of every task that begins.
            timeout_seconds: from the first process to the last.

        Raises:
            CairnError: ``deploy.failed`` names the first machine, its task and message, and all failed machines in
                ``details["hosts"]``; ``deploy.unreachable`` if all that failed could not be logged in to;
                ``deploy.timeout``; ``deploy.no-operator-roles``; ``ssh.bad-address``.
        """
        for machine in machines:
            check_target(machine.target)
        shared = {**(self._operator.variables() if self._operator else {}), **(variables or {})}
        async with self._turns:
            run = _Run(self._runs, self._logs, self._clock, playbook, machines)
            try:
                run.write_inventory(inventory_text(machines, shared, self._known_hosts, self._remote_python))
                ended, failures = await run.execute(self._order(run, playbook), on_progress, timeout_seconds)
            finally:
                # Not in a thread: a cancelled caller must not leave secrets on the disk.
                log_path = run.keep_log(_secrets(machines))
                run.clean()
        return _conclude(run, ended, failures, log_path)

    def _order(self, run: _Run, playbook: Path) -> RunOrder:
        roles = [str(SHARED_ROLES), *([str(self._operator.path.absolute())] if self._operator else [])]
        return RunOrder(
            folder=str(run.folder),
            playbook=str(playbook.absolute()),
            inventory=str(run.inventory_path),
            roles=roles,
            forks=self._forks,
            environment=_environment(run.folder, run.sockets),
        )


class _Run:
    """One run's folder and its process."""

    def __init__(self, runs: Path, logs: Path, clock: Clock, playbook: Path, machines: Sequence[Machine]) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=runs, prefix=""))
        # Sockets need a short path: the kernel takes 107 characters, and a data folder may lie deep.
        self.sockets = Path(tempfile.mkdtemp(prefix="cairn-"))
        self.inventory_path = self.folder / "inventory.yml"
        self.machines = {machine.uuid: machine for machine in machines}
        self.playbook = playbook
        self._clock = clock
        self._began = clock.monotonic()
        stamp = clock.now().strftime("%Y%m%dT%H%M%S")
        self.log_path = logs / f"{stamp}-{playbook.stem}-{uuid.uuid4().hex[:8]}.log"

    @property
    def seconds(self) -> float:
        return self._clock.monotonic() - self._began

    def write_inventory(self, text: str) -> None:
        descriptor = os.open(self.inventory_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)

    async def execute(
        self, order: RunOrder, on_progress: Progress | None, timeout_seconds: float
    ) -> tuple[RunEnded | None, dict[str, TaskFailed]]:
        """Run the process. Returns its last line (None if it died without one), and each machine's last failure."""
        with (self.folder / "runner.log").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *_RUNNER,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                limit=_LINE_LIMIT_BYTES,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._converse(process, order, on_progress)
        except TimeoutError as error:
            raise self._timed_out(timeout_seconds) from error
        finally:
            await _end(process)

    async def _converse(
        self, process: asyncio.subprocess.Process, order: RunOrder, on_progress: Progress | None
    ) -> tuple[RunEnded | None, dict[str, TaskFailed]]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(order) + b"\n")
        await process.stdin.drain()
        failures: dict[str, TaskFailed] = {}
        async for text in process.stdout:
            match msgspec.json.decode(text, type=RunLine):
                case TaskStarted(name, percent):
                    if on_progress is not None:
                        on_progress(name, percent)
                case TaskFailed() as failure:
                    failures[failure.host] = failure
                case RunEnded() as ended:
                    return ended, failures
        return None, failures

    def keep_log(self, secrets: Sequence[str]) -> Path:
        """Keep the end of the run's output, without `secrets`; of the older logs, the newest."""
        parts = [self.folder / "artifacts" / "run" / "stdout", self.folder / "runner.log"]
        text = "".join(_tail(part) for part in parts)
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(strike(text, secrets))
        others = sorted(path for path in self.log_path.parent.glob("*.log") if path != self.log_path)
        for old in others[: -(KEPT_LOGS - 1)]:  # names begin with the time
            old.unlink(missing_ok=True)
        return self.log_path

    def clean(self) -> None:
        for folder in (self.folder, self.sockets):
            shutil.rmtree(folder, ignore_errors=True)

    def _timed_out(self, seconds: float) -> CairnError:
        hosts = ", ".join(machine.target.host for machine in self.machines.values())
        return CairnError(
            "deploy.timeout",
            f"{self.playbook.stem} on {hosts} was given up after {seconds:g} s. "
            f"Look at {self.log_path} for the task that hung, then try again.",
            kind=ErrorKind.TIMEOUT,
        )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the child end all its processes and itself; it does so when its input ends."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            # Reads its last output, so that it cannot hang while writing it.
            await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


def _conclude(run: _Run, ended: RunEnded | None, failures: Mapping[str, TaskFailed], log_path: Path) -> DeployResult:
    if ended is None:
        raise _failed(run, "the process that runs Ansible died", {})
    bad = {uuid: failures.get(uuid) for uuid in run.machines if ended.failed.get(uuid) or ended.unreachable.get(uuid)}
    if bad:
        raise _machines_failed(run, bad)
    if ended.status != "successful":
        raise _failed(run, _complaint(log_path) or f"Ansible ended as {ended.status}", {})
    return DeployResult(
        ok=sum(ended.ok.values()), changed=sum(ended.changed.values()), seconds=run.seconds, log_path=log_path
    )


def _machines_failed(run: _Run, bad: Mapping[str, TaskFailed | None]) -> CairnError:
    secrets = _secrets(run.machines.values())
    told = {uuid: strike(f"task {f.task!r}: {f.message}" if f else "no message", secrets) for uuid, f in bad.items()}
    first = next(iter(told))
    sentence = f"{run.machines[first].target.host}, {told[first]}"
    if len(told) > 1:
        sentence += f" (and {len(told) - 1} of {len(run.machines)} machines more)"
    if all(f is not None and f.unreachable for f in bad.values()):
        return CairnError(
            "deploy.unreachable",
            f"{run.playbook.stem} could not log in: {sentence}. Check the machine, its sshd and the login.",
            kind=ErrorKind.UNAVAILABLE,
            details={"hosts": told, "log": str(run.log_path)},
        )
    return _failed(run, sentence, told)


def _failed(run: _Run, sentence: str, hosts: dict[str, str]) -> CairnError:
    return CairnError(
        "deploy.failed",
        f"{run.playbook.stem} failed on {sentence}. Mend the cause and try again; the whole output is in "
        f"{run.log_path}."
        if hosts
        else f"{run.playbook.stem} failed: {sentence}. The whole output is in {run.log_path}.",
        kind=ErrorKind.CONFLICT,
        details={"hosts": hosts, "log": str(run.log_path)},
    )


def _complaint(log_path: Path) -> str:
    """The message of an Ansible that does not even begin: a role is missing, a file is not YAML."""
    lines = [line.strip() for line in _tail(log_path).splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines or [""])[-1][-500:]


def _secrets(machines: Iterable[Machine]) -> list[str]:
    return [m.target.password for m in machines if m.target.password and len(m.target.password) >= _SHORTEST_SECRET]


def strike(text: str, secrets: Sequence[str]) -> str:
    """`text` with every secret replaced by stars."""
    for secret in secrets:
        text = text.replace(secret, "********")
    return text


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_LIMIT_BYTES))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _environment(folder: Path, sockets: Path) -> dict[str, str]:
    """Ansible's settings: ours alone. Neither those of the user who runs the node nor the node's environment count."""
    config = folder / "ansible.cfg"
    config.write_text("[defaults]\n")
    ssh = "-F /dev/null -C -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=15"
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "CAIRN_"))},
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": ssh,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_TIMEOUT": "20",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_NOCOWS": "True",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
    }
