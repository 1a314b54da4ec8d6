"""The roots that a cloud trusts, as files, and the change from one to the next while everything runs.

The files, in the authority's folder::

    ca.crt ca.key       the root that signs; behind it in ca.crt, any other that is trusted at the moment
    next.crt next.key   the root that will sign: it is told to all, and used by nobody yet
    former.crt          the root that signed before: what it signed is still good

A change has three parts (`Phase`), each of which ends when every agent has taken part. The files say how far it is, so it goes
on after a crash wherever it was; a part that a crash broke in two is finished when the folder is opened again.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from cairn.kernel.clock import Clock
from cairn.kernel.deploy.pem import (
    Pair,
    builder,
    certificate_pem,
    common_name,
    key_usage,
    load_pair,
    subject_of,
    write,
    write_pair,
)
from cairn.kernel.error import CairnError, ErrorKind

CA_VALIDITY = timedelta(days=3652)


class Phase(StrEnum):
    """How far a change of the root is."""

    SETTLED = "Settled"  #: there is one root, and no change
    ANNOUNCED = "Announced"  #: agents are told to trust the next root as well
    RENEWING = "Renewing"  #: the new root signs; agents get certificates of it, and trust the former one still


class _There(Struct, frozen=True):
    """What the files say; replaced as a whole, since connections are judged by it meanwhile."""

    current: Pair
    phase: Phase
    names: tuple[str, ...]
    bundle: bytes


class Roots:
    """The roots in a folder. Call everything under the folder's lock."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """Find the root, or make it (``pki.broken``: there is only half of it, or a file is not PEM)."""
        self._folder = folder
        self._clock = clock
        self._finish()
        if _load_root(folder) is None:
            self._create("ca")
        self._there = self._look()

    @property
    def current(self) -> Pair:
        """The root that signs."""
        return self._there.current

    @property
    def phase(self) -> Phase:
        """How far a change is."""
        return self._there.phase

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all that are trusted, the one that signs first."""
        return self._there.names

    @property
    def bundle(self) -> bytes:
        """All that are trusted, PEM."""
        return self._there.bundle

    def announce(self) -> None:
        """Make the next root, and trust it as well. A change that is under way stays as it is."""
        if self.phase is Phase.SETTLED:
            self._create("next")
            self._there = self._look()

    def switch(self) -> None:
        """Let the next root sign from now on. Without one, nothing happens."""
        if self.phase is Phase.ANNOUNCED:
            write(self._folder / "former.crt", certificate_pem(self.current.certificate), 0o644)
            self._finish()
            self._there = self._look()

    def withdraw(self) -> None:
        """Trust the former root no longer. Without one, nothing happens."""
        (self._folder / "former.crt").unlink(missing_ok=True)
        self._there = self._look()

    def _finish(self) -> None:
        """Put the next root in the place of the present one, once that is written down as the former one."""
        pair = self._next()
        if pair is not None and (self._folder / "former.crt").exists():
            write_pair(self._folder / "ca.crt", self._folder / "ca.key", pair)
            for name in ("next.crt", "next.key"):
                (self._folder / name).unlink()

    def _look(self) -> _There:
        """Find out from the files how far a change is, and what is trusted; see that clients find the same in ca.crt."""
        current, following, former = _load_root(self._folder), self._next(), self._folder / "former.crt"
        assert current is not None, "it is there since the folder was opened"
        others, phase = [], Phase.SETTLED
        if former.exists():
            others, phase = [x509.load_pem_x509_certificate(former.read_bytes())], Phase.RENEWING
        elif following is not None:
            others, phase = [following.certificate], Phase.ANNOUNCED
        roots = [current.certificate, *others]
        names = tuple(common_name(one.subject) for one in roots)
        found = _There(current, phase, names, b"".join(map(certificate_pem, roots)))
        if (self._folder / "ca.crt").read_bytes() != found.bundle:
            write(self._folder / "ca.crt", found.bundle, 0o644)
        return found

    def _next(self) -> Pair | None:
        return load_pair(self._folder / "next.crt", self._folder / "next.key")

    def _create(self, file: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock.now()
        subject = subject_of(f"cairn authority {x509.random_serial_number():040x}"[:40], "cairn-authority")
        certificate = (
            builder(subject, subject, key, now, now + CA_VALIDITY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(is_root=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        pair = Pair(certificate, key)
        write_pair(self._folder / f"{file}.crt", self._folder / f"{file}.key", pair)
        return pair


def _load_root(folder: Path) -> Pair | None:
    """The root; None if none was ever in use. If half of it was lost, that is an error, not a reason for a new one."""
    pair = load_pair(folder / "ca.crt", folder / "ca.key")
    # The key is written first, so a lone key was left by a crash, and nothing uses it yet.
    if pair is None and (folder / "ca.crt").exists():
        raise _broken(folder / "ca.crt")
    return pair


def _broken(path: Path) -> CairnError:
    return CairnError(
        "pki.broken",
        f"{path} and {path.with_suffix('.key').name} are damaged, incomplete, or do not belong together. Restore the "
        f"folder {path.parent} from a backup; or move it away and add every machine again, because agents trust only "
        "the authority that they were installed with.",
        kind=ErrorKind.INTERNAL,
    )
