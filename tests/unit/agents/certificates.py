"""Certificates of an authority that lives for a test."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cairn.agents.config import TlsFiles


class TestAuthority:
    """Signs for anybody, as whomever."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        folder.mkdir()
        (folder / "ca.pem").write_bytes(self._sign("ca", None, self._key, is_ca=True))

    def issue(self, name: str, uri: str | None = None, *, address: str = "127.0.0.1") -> TlsFiles:
        """A certificate for an address, that says by its URI whose it is."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self._folder / f"{name}.key").write_bytes(private)
        (self._folder / f"{name}.pem").write_bytes(self._sign(name, uri, key, is_ca=False, address=address))
        return TlsFiles(
            ca=str(self._folder / "ca.pem"),
            cert=str(self._folder / f"{name}.pem"),
            key=str(self._folder / f"{name}.key"),
        )

    def _sign(
        self,
        name: str,
        uri: str | None,
        key: ec.EllipticCurvePrivateKey,
        *,
        is_ca: bool,
        address: str = "127.0.0.1",
    ) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        others: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
        if uri is not None:
            others.append(x509.UniformResourceIdentifier(uri))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(names))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(others), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
