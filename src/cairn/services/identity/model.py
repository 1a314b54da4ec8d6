"""Accounts and their sessions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from cairn.kernel.resource import EnabledState
from cairn.kernel.store.record import Doc, Hidden, Index, Key, Named, Owner, Record, References, TableMeta, Text, Unique
from cairn.kernel.store.store import Tx
from cairn.services.ids import AccountId


class AccountType(StrEnum):
    """The rights of an account."""

    SYSTEM_ADMIN = "SystemAdmin"  #: all APIs, on all resources
    NORMAL = "Normal"  #: the APIs for accounts, on its own resources


class Account(Named, frozen=True, kw_only=True):
    """An owner of things. It sees itself; an admin sees all."""

    meta: ClassVar[TableMeta] = TableMeta(
        table="account", entity="Account", remembered=frozenset({"type", "state", "password_hash"})
    )

    uuid: Annotated[AccountId, Key(), Owner()]
    name: Annotated[str, Unique(), Text(255, exact=True), Doc("what it logs in with")]
    type: AccountType = AccountType.NORMAL
    state: Annotated[EnabledState, Doc("Disabled: logging in is refused; its resources stay as they are")] = (
        EnabledState.ENABLED
    )
    password_hash: Annotated[str, Hidden(), Text(512, exact=True)]


class Session(Record, frozen=True, kw_only=True):
    """A login. Only a digest of the session's uuid is kept, so that a reader of the database cannot act with it."""

    meta: ClassVar[TableMeta] = TableMeta(table="session")

    uuid: Annotated[str, Key()]
    account_uuid: Annotated[AccountId, References("account", on_delete="cascade")]
    expired_date: Annotated[datetime, Index()]
    create_date: datetime


def is_admin(tx: Tx, account: str | None) -> bool:
    """Whether the account may do everything; None, the cloud itself, may."""
    if account is None:
        return True
    row = tx.get(Account, account)
    return row is not None and row.type is AccountType.SYSTEM_ADMIN
