"""The first administrator, made at the first start."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cairn.kernel.clock import Clock
from cairn.kernel.error import CairnError
from cairn.kernel.ids import IdSource
from cairn.kernel.resource import write
from cairn.kernel.settings import Settings
from cairn.kernel.store.store import Store, Tx
from cairn.services.identity.model import Account, AccountType
from cairn.services.identity.passwords import Hasher, PasswordForm, Passwords, interactive_hasher, sha512_hex
from cairn.services.identity.policy import check_new
from cairn.services.ids import AccountId

ADMIN = "admin"


async def bootstrap_admin(
    store: Store, settings: Settings, ids: IdSource, clock: Clock, hasher: Hasher | None = None
) -> Path | None:
    """Make the account ``admin`` unless an administrator exists. Safe to repeat.

    Its password is ``CAIRN_ADMIN_PASSWORD``, or else a random one, kept in the file ``admin-password`` of the data folder,
    which only its owner can read. The file is written first: after a crash in between, the next start takes its password.

    Raises:
        CairnError: ``account.weak-password``.

    Returns:
        The file, if this call made the account with the password in it.
    """
    if await store.read(_has_admin):
        return None
    path = None if settings.admin_password else settings.data_dir / "admin-password"
    password = settings.admin_password or await asyncio.to_thread(_password_in, settings.data_dir / "admin-password")
    if settings.admin_password:
        check_new(settings.admin_password, PasswordForm.PLAIN, "CAIRN_ADMIN_PASSWORD", ADMIN)
    password_hash = await Passwords(hasher or interactive_hasher(), clock).hash(sha512_hex(password))
    uuid = AccountId(ids.new())

    def fn(tx: Tx) -> bool:
        if _has_admin(tx):
            return False
        write(
            tx,
            Account(
                uuid=uuid,
                name=ADMIN,
                description="The administrator that was there first",
                type=AccountType.SYSTEM_ADMIN,
                password_hash=password_hash,
                create_date=tx.now,
                last_op_date=tx.now,
            ),
        )
        return True

    made = await _made(store, fn)
    if not made and path is not None:
        await asyncio.to_thread(path.unlink, missing_ok=True)  # another node's account has another password
    return path if made else None


async def _made(store: Store, fn: Callable[[Tx], bool]) -> bool:
    try:
        return await store.write(fn)
    except CairnError as error:
        if error.code != "store.duplicate":
            raise
        return False


def _has_admin(tx: Tx) -> bool:
    return tx.count(Account, type=AccountType.SYSTEM_ADMIN) > 0


def _password_in(path: Path) -> str:
    """The password in the file; without a file, one is made with a new password."""
    password = secrets.token_urlsafe(18)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        there = path.read_text(encoding="utf-8").strip()
        if there:
            return there
        path.unlink()  # a crash came between the file and its content
        return _password_in(path)
    with os.fdopen(file, "w", encoding="utf-8") as stream:
        stream.write(password + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return password
