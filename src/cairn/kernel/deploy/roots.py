"""The roots that a cloud trusts, and the change from one to the next while everything runs.

They stand in one row that all nodes share (`SharedAuthority`): the root that signs, the one that will sign, the one that signed
before. A change has three parts (`Phase`), each of which ends when every node and every agent has taken part, and each of which
is one statement. The row says how far it is, so it goes on after a crash wherever it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from cairn.kernel.deploy.model import SharedAuthority
from cairn.kernel.deploy.pem import (
    Pair,
    builder,
    certificate_pem,
    common_name,
    key_pem,
    key_usage,
    read_pair,
    subject_of,
)
from cairn.kernel.error import CairnError, ErrorKind

CA_VALIDITY = timedelta(days=3652)


class Phase(StrEnum):
    """How far a change of the root is."""

    SETTLED = "Settled"  #: there is one root, and no change
    ANNOUNCED = "Announced"  #: nodes and agents are told to trust the next root as well
    RENEWING = "Renewing"  #: the new root signs; agents get certificates of it, and trust the former one still


class Roots(Struct, frozen=True):
    """What the row says; replaced as a whole, since connections are judged by it meanwhile."""

    current: Pair  #: the root that signs
    phase: Phase  #: how far a change is
    names: tuple[str, ...]  #: of all that are trusted, the one that signs first
    bundle: bytes  #: all that are trusted, PEM


def roots_in(row: SharedAuthority) -> Roots:
    """The roots that the row holds.

    Raises:
        CairnError: ``pki.broken``: the row's certificate and key do not belong together.
    """
    current = read_pair(row.certificate.encode(), row.private_key.encode())
    if current is None:
        raise broken("the authority's row in the database", "the database")
    phase, others = phase_of(row), []
    if row.former_certificate is not None:
        others = [row.former_certificate]
    elif row.next_certificate is not None:
        others = [row.next_certificate]
    roots = [current.certificate, *(x509.load_pem_x509_certificate(one.encode()) for one in others)]
    names = tuple(common_name(one.subject) for one in roots)
    return Roots(current, phase, names, b"".join(map(certificate_pem, roots)))


def phase_of(row: SharedAuthority) -> Phase:
    """How far a change is."""
    if row.former_certificate is not None:
        return Phase.RENEWING
    return Phase.SETTLED if row.next_certificate is None else Phase.ANNOUNCED


def first_root(now: datetime) -> SharedAuthority:
    """The row of a cloud that has no authority yet, with a new root."""
    pair = make_root(now)
    return SharedAuthority(
        certificate=certificate_pem(pair.certificate).decode(), private_key=key_pem(pair.key).decode()
    )


def announced(row: SharedAuthority, made: Pair) -> Mapping[str, object]:
    """The fields that begin a change: `made` is trusted as well. Nothing, while one is under way."""
    if phase_of(row) is not Phase.SETTLED:
        return {}
    return {
        "next_certificate": certificate_pem(made.certificate).decode(),
        "next_private_key": key_pem(made.key).decode(),
    }


def switched(row: SharedAuthority) -> Mapping[str, object]:
    """The fields that let the next root sign from now on. Nothing, without one."""
    if phase_of(row) is not Phase.ANNOUNCED:
        return {}
    return {
        "certificate": row.next_certificate,
        "private_key": row.next_private_key,
        "next_certificate": None,
        "next_private_key": None,
        "former_certificate": row.certificate,
    }


def withdrawn(row: SharedAuthority) -> Mapping[str, object]:
    """The fields by which the former root is trusted no longer. Nothing, without one."""
    return {} if row.former_certificate is None else {"former_certificate": None}


def make_root(now: datetime) -> Pair:
    """A new root, which nobody trusts yet."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = subject_of(f"cairn authority {x509.random_serial_number():040x}"[:40], "cairn-authority")
    certificate = (
        builder(subject, subject, key, now, now + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(is_root=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def broken(what: str, where: str) -> CairnError:
    """``pki.broken``: `what` is damaged, and `where` has to come from a backup."""
    return CairnError(
        "pki.broken",
        f"The root of the cloud's certificates cannot be used: {what} is damaged or incomplete. Restore {where} from a backup; "
        "without it every machine has to be added again, because agents trust only the authority that they were installed with.",
        kind=ErrorKind.INTERNAL,
    )
