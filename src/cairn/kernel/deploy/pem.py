"""Certificates and keys, and the files that they are kept in. Files are replaced whole; keys can be read by nobody else."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Struct

#: A machine whose clock is somewhat behind must not refuse a fresh certificate.
BACKDATE = timedelta(days=1)


class Pair(Struct, frozen=True):
    """A certificate and the key to it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    """What all certificates have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(end)
    )


def subject_of(name: str, unit: str) -> x509.Name:
    """Whose a certificate is, for people."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cairn"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or unit),
        ]
    )


def key_usage(*, is_root: bool) -> x509.KeyUsage:
    """What a key may be used for."""
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key as text: a secret."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_pair(certificate_path: Path, key_path: Path) -> Pair | None:
    """The stored pair; None if a file is missing or damaged, or if the two do not belong together."""
    try:
        return read_pair(certificate_path.read_bytes(), key_path.read_bytes())
    except FileNotFoundError:
        return None


def read_pair(certificate_text: bytes, key_text: bytes) -> Pair | None:
    """The pair in two texts; None if one is damaged, or if the two do not belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_text)
        key = serialization.load_pem_private_key(key_text, password=None)
    except ValueError:
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return Pair(certificate, key)


def write_pair(certificate_path: Path, key_path: Path, pair: Pair) -> None:
    """Write a pair, the key first: a key without its certificate is used by nobody."""
    write(key_path, key_pem(pair.key), 0o600)
    write(certificate_path, certificate_pem(pair.certificate), 0o644)


def write(path: Path, content: bytes, mode: int) -> None:
    """Replace `path` in one moment; at no time can others read the file if `mode` forbids it."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def private_folder(folder: Path) -> None:
    """Make a folder that others cannot look into, or make it so."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """No other process works in the folder meanwhile."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def common_name(name: x509.Name) -> str:
    """The name by which a root is told from others."""
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""
