"""The identity service, put together."""

from __future__ import annotations

from cairn.kernel.plugin.manifest import Manifest, Parts
from cairn.kernel.session import Authenticator
from cairn.services.identity import config
from cairn.services.identity.messages import (
    ChangeAccountState,
    CreateAccount,
    DeleteAccount,
    LogInByAccount,
    LogOut,
    RenewSession,
    UpdateAccount,
    ValidateSession,
)
from cairn.services.identity.model import Account, Session
from cairn.services.identity.passwords import Passwords, interactive_hasher
from cairn.services.identity.service import IdentityService
from cairn.services.identity.sessions import Sessions


def build(parts: Parts) -> None:
    """Make the service's objects."""
    sessions = Sessions(parts.store, parts.bus, parts.clock, parts.ids, parts.config, parts.settings.session_seconds)
    IdentityService(
        parts.bus,
        parts.store,
        parts.jobs,
        parts.tags,
        parts.cascade,
        sessions,
        Passwords(interactive_hasher(), parts.clock),
    )
    parts.extensions.provide(Authenticator, sessions, name="identity")
    parts.background.append(sessions)


MANIFEST = Manifest(
    name="identity",
    doc="Accounts, logins and sessions.",
    build=build,
    records=(Account, Session),
    api=(
        LogInByAccount,
        LogOut,
        ValidateSession,
        RenewSession,
        CreateAccount,
        UpdateAccount,
        ChangeAccountState,
        DeleteAccount,
    ),
    settings=config.ALL,
)
