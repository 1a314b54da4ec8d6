"""The cloud's own SSH key: machines let it in once their agent is there, so that nobody's password has to be kept."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class OwnKey:
    """A key pair in a file that only the node can read; made when it is first asked for.

    Args:
        path: of the private key, in OpenSSH's form.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def public(self) -> str:
        """The line for ``authorized_keys``: commands only, no forwarding of anything."""
        if not self.path.exists():
            self._make()
        key = serialization.load_ssh_private_key(self.path.read_bytes(), password=None)
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        return f"restrict {line.decode('ascii')} cairn"

    def _make(self) -> None:
        key = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was quicker: its key is the one
            os.link(part, self.path)
        part.unlink()
