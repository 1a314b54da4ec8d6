"""The command that renews whom an agent trusts and who it is, while it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import ClassVar

from cairn.agents.protocol.wire import AgentCommand, Done, Result


class RenewTrust(AgentCommand[Done], frozen=True, kw_only=True):
    """Take a new certificate and the list of revoked ones; both hold for all connections made from then on. Safe to repeat.

    An agent without TLS has none to renew, and answers ``agent.missing-feature``.
    """

    name: ClassVar[str] = "agent.renew-trust"
    answer: ClassVar[type[Result]] = Done

    revoked: list[str]  #: serial numbers, in hexadecimal, of all certificates that are good no longer
    certificate: str | None = None  #: PEM; None: the one that it has stays
    key: str | None = None  #: the private key of `certificate`, PEM: a secret
    authority: str | None = None  #: all roots that are to be trusted from now on, PEM; None: as before

    def __repr__(self) -> str:
        return f"RenewTrust(certificate={'a new one' if self.certificate else None}, {len(self.revoked)} revoked)"


def trust_of(names: Iterable[str]) -> str:
    """The digest that tells two sets of trusted roots apart, by the roots' names."""
    return hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()[:16]


def revocation_of(revoked: Iterable[str]) -> str:
    """The digest that tells two lists of revoked certificates apart; empty for an empty list."""
    serials = sorted(revoked)
    return hashlib.sha256(" ".join(serials).encode()).hexdigest()[:16] if serials else ""
