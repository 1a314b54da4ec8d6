"""Reaches machines over SSH, and checks that they are the same as before and let us log in.

A machine's host keys are pinned under a uuid at first sight, for all nodes of the cloud. Where somebody gave the
fingerprint of its key, that key alone is pinned, and nothing is sent to a machine that does not show it. All later
connections, Ansible's included, use a file of these alone, with the uuid as host key alias: the pin belongs to the machine and
not to its address, and no file of the user who runs the node has a say.

A password reaches ssh through a pipe (``sshpass -d``): it is on no command line, in no environment and in no log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from cairn.agents.protocol.machine import MACHINE_ID, PRODUCT_UUID, machine_identity
from cairn.kernel.error import CairnError, ErrorKind, invalid

if TYPE_CHECKING:
    from cairn.kernel.deploy.known_hosts import KnownHosts  # which reads this module

_KEY_KINDS = "ed25519,ecdsa,rsa"
_ADDRESS = re.compile(r"[0-9A-Za-z_:][0-9A-Za-z_.:%-]{0,252}")
_USERNAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.@\\-]{0,63}")


class SshTarget(Struct, frozen=True, kw_only=True):
    """Where to log in, as whom, and with what."""

    host: str  #: IP address or host name
    port: int = 22
    username: str = "root"
    password: str | None = None  #: used when no key is given; also the sudo password of a user who is not root
    private_key_path: Path | None = None  #: a file readable only by the node's user

    def __repr__(self) -> str:
        return f"SshTarget({self})"

    def __str__(self) -> str:
        return f"{self.username}@{self.host}:{self.port}"


class HostKey(Struct, frozen=True):
    """One public key that a machine's sshd shows."""

    kind: str  #: ``ssh-ed25519``, ``ecdsa-sha2-nistp256``, ``ssh-rsa``
    blob: str  #: base64

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it: ``SHA256:...``."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def ssh_options(target: SshTarget, uuid: str, known_hosts: KnownHosts) -> list[str]:
    """Options for every ssh to `target`: only the pinned keys, only the given way to log in, no user's own config."""
    path = str(known_hosts.path(uuid))
    options = [
        f'UserKnownHostsFile="{path}"' if " " in path else f"UserKnownHostsFile={path}",
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={uuid}",
        "StrictHostKeyChecking=yes",
        "UpdateHostKeys=no",
        "CheckHostIP=no",
        "NumberOfPasswordPrompts=1",
    ]
    if target.private_key_path is not None:
        options += ["IdentitiesOnly=yes", "PreferredAuthentications=publickey"]
    else:
        options += ["PubkeyAuthentication=no", "PreferredAuthentications=password,keyboard-interactive"]
    return [part for option in options for part in ("-o", option)]


async def scan_host_key(target: SshTarget, *, timeout_seconds: float = 10.0) -> tuple[HostKey, ...]:
    """Ask the machine's sshd for its host keys. Only reads; at least one key is answered.

    Raises:
        CairnError: ``ssh.unreachable``, ``ssh.timeout``, ``ssh.bad-address``.
    """
    check_target(target)
    async with _deadline(target, timeout_seconds):
        await _knock(target)
        arguments = ["-T", str(max(1, int(timeout_seconds))), "-p", str(target.port), "-t", _KEY_KINDS, target.host]
        _, out, err = await _run(["ssh-keyscan", *arguments])
    keys = parse_keys(out.splitlines())
    if not keys:
        raise _unreachable(target, _tail(err) or "something listens on that port, but it is no SSH server")
    return keys


async def check_login(target: SshTarget, uuid: str, known_hosts: KnownHosts, *, timeout_seconds: float = 20.0) -> None:
    """Log in and run ``true``. The machine must be pinned. Safe to repeat.

    Raises:
        CairnError: ``ssh.unreachable``; ``ssh.timeout``; ``ssh.login-failed`` for a wrong user, password or key;
            ``ssh.host-key-changed`` if the machine shows other keys than the pinned ones; ``ssh.bad-address``;
            ``ssh.no-sshpass`` if a password is given and the program sshpass is missing here.
    """
    check_target(target)
    await _run_there(target, uuid, known_hosts, "true", timeout_seconds=timeout_seconds)


async def reach(
    target: SshTarget,
    uuid: str,
    known_hosts: KnownHosts,
    *,
    expected: str | None = None,
    timeout_seconds: float = 20.0,
) -> str:
    """Check a machine before anything is done on it: it answers, it is the pinned one, we may log in.

    Returns the fingerprint of the key that it showed; at first sight its keys are pinned. Safe to repeat.

    Args:
        expected: the fingerprint that its key must have; nothing is sent to a machine that does not show it.

    Raises:
        CairnError: as `scan_host_key`, `KnownHosts.check` and `check_login` do.
    """
    keys = await scan_host_key(target, timeout_seconds=timeout_seconds)
    pinned = await known_hosts.check(uuid, target, keys, expected)
    await check_login(target, uuid, known_hosts, timeout_seconds=timeout_seconds)
    return pinned[0].fingerprint


class Sight(Struct, frozen=True, kw_only=True):
    """What a machine tells of itself over SSH before anything is changed on it."""

    identity: str | None  #: what it is (`cairn.agents.protocol.machine`); None: it cannot tell, or only its root can
    time: float  #: its clock, in seconds since the epoch


async def look(target: SshTarget, uuid: str, known_hosts: KnownHosts, *, timeout_seconds: float = 20.0) -> Sight:
    """Ask a machine who it is and what time it has. It must be pinned. Only reads; safe to repeat.

    Raises:
        CairnError: as `check_login` does.
    """
    # sudo reads the password from its standard input; for root, and where none is asked for, nobody reads it.
    password = f"{target.password}\n" if target.password and target.username != "root" else ""
    out = await _run_there(target, uuid, known_hosts, _LOOK, input_text=password, timeout_seconds=timeout_seconds)
    found = dict(line[len(_MARK) :].partition("=")[::2] for line in out.splitlines() if line.startswith(_MARK))
    hidden = found.get("hardware") == "hidden"
    identity = None if hidden else machine_identity(found.get("system", ""), found.get("hardware", ""))
    seconds = found.get("time", "")
    return Sight(identity=identity, time=float(seconds) if seconds.isdigit() else 0.0)


#: begins the lines that are ours: a login shell may print whatever it likes
_MARK = "cairn-machine:"
_LOOK = f"""
echo "{_MARK}system=$(cat {MACHINE_ID} 2>/dev/null)"
if [ -e {PRODUCT_UUID} ]; then
  found=$(cat {PRODUCT_UUID} 2>/dev/null || sudo -n cat {PRODUCT_UUID} 2>/dev/null ||
    sudo -S -p '' cat {PRODUCT_UUID} 2>/dev/null)
  echo "{_MARK}hardware=${{found:-hidden}}"
fi
echo "{_MARK}time=$(date +%s)"
"""


AUTHORIZED_KEYS = "~/.ssh/authorized_keys"


async def authorize(
    target: SshTarget, uuid: str, known_hosts: KnownHosts, public_key: str, file: str = AUTHORIZED_KEYS
) -> None:
    """Let a key log in to a pinned machine as the user of `target`. Safe to repeat.

    Args:
        public_key: a line of ``authorized_keys``; it is on a command line, so it must not be a secret, nor have quotes.
        file: of the user on that machine that the line goes into.

    Raises:
        CairnError: as `check_login` does.
    """
    command = (
        f'umask 077; f={file}; mkdir -p "$(dirname "$f")" && touch "$f" || exit 1; '
        f"grep -qxF '{public_key}' \"$f\" && exit 0; "
        f'[ -z "$(tail -c 1 "$f")" ] || echo >> "$f"; echo \'{public_key}\' >> "$f"'
    )
    await _run_there(target, uuid, known_hosts, command, timeout_seconds=20.0)


async def unauthorize(
    target: SshTarget, uuid: str, known_hosts: KnownHosts, public_key: str, file: str = AUTHORIZED_KEYS
) -> None:
    """Take back what `authorize` did. Safe to repeat; errors as there."""
    command = (
        f'umask 077; f={file}; [ -e "$f" ] || exit 0; '
        f'grep -vxF \'{public_key}\' "$f" > "$f.cairn"; cat "$f.cairn" > "$f"; rm -f "$f.cairn"'
    )
    await _run_there(target, uuid, known_hosts, command, timeout_seconds=20.0)


async def _run_there(
    target: SshTarget,
    uuid: str,
    known_hosts: KnownHosts,
    command: str,
    *,
    input_text: str = "",
    timeout_seconds: float,
) -> str:
    """Run a shell command on a pinned machine, and return what it prints. Errors as of `check_login`."""
    check_target(target)
    ssh = ["ssh", "-F", "/dev/null", "-T", "-x", *ssh_options(target, uuid, known_hosts)]
    ssh += ["-o", f"ConnectTimeout={max(1, int(timeout_seconds))}", "-o", "ControlPath=none"]
    ssh += ["-p", str(target.port), "-l", target.username]
    async with _deadline(target, timeout_seconds):
        if target.private_key_path is not None:
            login = ["-o", "BatchMode=yes", "-i", str(_readable(target, target.private_key_path))]
            code, out, err = await _run([*ssh, *login, target.host, command], input_text=input_text)
        else:
            line = [*ssh, target.host, command]
            code, out, err = await _run_with_password(line, target.password or "", input_text)
    if code != 0:
        raise _explain(target, code, err, await known_hosts.pinned(uuid))
    return out


def check_private_key(text: str) -> None:
    """Refuse what is no private key that a program can use: a public key, a key with a passphrase, something else.

    Raises:
        CairnError: ``ssh.bad-key``, with what was found; never with a part of the key.
    """
    why = _why_not_a_key(text)
    if why is not None:
        found, do = why
        raise CairnError(
            "ssh.bad-key",
            f"privateKey: found {found}. {do}",
            fields={"privateKey": f"found {found}; a private key without a passphrase would fit"},
        )


def _why_not_a_key(text: str) -> tuple[str, str] | None:
    """What `text` is instead of a usable key, and what to do."""
    begin = text.lstrip().split("\n", 1)[0].strip()
    if _PUBLIC.match(begin):
        return "a public key", "Give the file beside it, whose name has no .pub at its end."
    if begin.startswith("PuTTY-User-Key-File"):
        return "a key in PuTTY's form", "Convert it: puttygen KEY.ppk -O private-openssh-new -o KEY."
    if "-----BEGIN" not in begin:
        return (
            "no private key",
            "Give the content of a file such as ~/.ssh/id_ed25519, from -----BEGIN to the last line.",
        )
    # Here and not above: the command line reads these messages too, and starts faster without.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    openssh = "OPENSSH" in begin
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    try:
        load(text.strip().encode() + b"\n", None)
    except TypeError:
        return "a key with a passphrase", "Nobody is there to type it. Make a key for cairn: ssh-keygen -N '' -f cairn."
    except UnsupportedAlgorithm:
        return None  # ssh may know it
    except ValueError:
        return "a damaged private key", "Give the whole file, unchanged: ssh-keygen -y -f KEY reads it if it is whole."
    return None


_PUBLIC = re.compile(
    r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]|-----BEGIN (RSA |EC |SSH2 )?PUBLIC|---- BEGIN SSH2 PUBLIC"
)


def check_target(target: SshTarget) -> None:
    """Refuse an address or user name that ssh could take for an option or a list.

    Raises:
        CairnError: ``ssh.bad-address``.
    """
    if not _ADDRESS.fullmatch(target.host):
        raise invalid("ssh.bad-address", "host", target.host, "an IP address or a host name would fit")
    if not _USERNAME.fullmatch(target.username):
        raise invalid("ssh.bad-address", "username", target.username, "a login name would fit")
    if not 1 <= target.port <= 65535:
        raise invalid("ssh.bad-address", "port", target.port, "1 to 65535 would fit")


@asynccontextmanager
async def _deadline(target: SshTarget, seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:  # the kernel's own time-out of a connection attempt, too
        raise _timed_out(target, f" within {seconds:g} s") from error


async def _knock(target: SshTarget) -> None:
    """Try a plain TCP connection first: its error says more than ssh-keyscan, which mostly says nothing."""
    try:
        _, writer = await asyncio.open_connection(target.host, target.port)
    except TimeoutError:
        raise
    except OSError as error:
        raise _unreachable(target, error.strerror or str(error)) from error
    writer.close()


async def _run(command: Sequence[str], pass_fds: Sequence[int] = (), input_text: str = "") -> tuple[int, str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=pipe if input_text else asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        pass_fds=pass_fds,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    try:
        out, err = await process.communicate(input_text.encode() or None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")


async def _run_with_password(command: Sequence[str], password: str, input_text: str = "") -> tuple[int, str, str]:
    reading, writing = os.pipe()
    try:
        os.write(writing, password.encode() + b"\n")
        os.close(writing)
        return await _run(["sshpass", "-d", str(reading), *command], [reading], input_text)
    except FileNotFoundError as error:
        raise CairnError(
            "ssh.no-sshpass",
            "To log in with a password the program sshpass is needed on the management node, and it is missing. "
            "Install the package sshpass, or give a private key instead.",
            kind=ErrorKind.UNAVAILABLE,
        ) from error
    finally:
        os.close(reading)


def parse_keys(lines: Iterable[str]) -> tuple[HostKey, ...]:
    """The keys in lines of a known_hosts file, by kind; what is no key is passed over."""
    keys = [HostKey(words[1], words[2]) for line in lines if len(words := line.split()) >= 3 and words[0][0] != "#"]
    return tuple(sorted(keys, key=lambda key: key.kind))


def _readable(target: SshTarget, path: Path) -> Path:
    if not os.access(path, os.R_OK) or not path.is_file():
        raise _login_failed(target, f"the private key {path} cannot be read on the management node")
    return path


def _explain(target: SshTarget, code: int, err: str, pinned: Sequence[HostKey]) -> CairnError:
    """The error that ssh's exit code and last words stand for."""
    if "IDENTIFICATION HAS CHANGED" in err or "Host key verification failed" in err or code == 6:
        found = re.search(r"SHA256:[A-Za-z0-9+/]+", err)
        was = pinned[0].fingerprint if pinned else "none"
        return _changed(target, found.group() if found else "another one", was)
    if "bad permissions" in err:
        return _login_failed(target, f"ssh refuses {target.private_key_path} because others can read it; chmod it 0600")
    if code == 5 or "Permission denied" in err or "Too many authentication" in err:
        what = "key" if target.private_key_path is not None else "password"
        return _login_failed(target, f"the user name or {what} is wrong, or the machine does not allow this way in")
    if code != 255:
        return _login_failed(target, f"the login works but running a command there fails: {_tail(err) or code}")
    if "timed out" in err.lower():
        return _timed_out(target, "")
    return _unreachable(target, _tail(err))


def _tail(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return lines[-1] if lines else ""


def wrong_host_key(target: SshTarget, found: Sequence[HostKey], expected: str) -> CairnError:
    """``ssh.wrong-host-key``: none of the keys that a machine shows is the one that was given."""
    shown = ", ".join(f"{key.fingerprint} ({key.kind})" for key in found)
    return CairnError(
        "ssh.wrong-host-key",
        f"The machine at {target.host}:{target.port} shows the host keys {shown}, and not {expected}. Nothing was sent to "
        "it. Look at its console (ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub), and at who has that address.",
        kind=ErrorKind.CONFLICT,
        fields={"hostKeyFingerprint": f"found {expected}; the machine shows {shown}"},
    )


def host_key_changed(target: SshTarget, found: HostKey, was: HostKey) -> CairnError:
    """``ssh.host-key-changed``: a machine shows another key than the one that is pinned for it."""
    return _changed(target, found.fingerprint, was.fingerprint)


def _changed(target: SshTarget, found: str, was: str) -> CairnError:
    return CairnError(
        "ssh.host-key-changed",
        f"The machine at {target.host}:{target.port} shows the host key {found}, but {was} is pinned for it. Either "
        "it was installed again or another machine answers at its address. Look at its console (ssh-keygen -l); if the "
        f"new key is right, give it as hostKeyFingerprint to the call that updates the machine, and try again.",
        kind=ErrorKind.CONFLICT,
        details={"found": found, "pinned": was},
    )


def _login_failed(target: SshTarget, why: str) -> CairnError:
    return CairnError(
        "ssh.login-failed",
        f"Cannot log in as {target.username} at {target.host}:{target.port}: {why}. "
        f"Try it by hand: ssh -p {target.port} {target.username}@{target.host}.",
    )


def _unreachable(target: SshTarget, why: str) -> CairnError:
    return CairnError(
        "ssh.unreachable",
        f"No SSH server can be reached at {target.host}:{target.port}: {why}. Check the address, the port, the "
        "machine's sshd, and the network between.",
        kind=ErrorKind.UNAVAILABLE,
    )


def _timed_out(target: SshTarget, when: str) -> CairnError:
    return CairnError(
        "ssh.timeout",
        f"{target.host}:{target.port} did not answer SSH{when}. Check that the machine is up "
        "and that no firewall drops the connection.",
        kind=ErrorKind.TIMEOUT,
    )
