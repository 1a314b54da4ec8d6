"""Accounts for tests, whose passwords are quick to compare."""

from __future__ import annotations

from argon2 import PasswordHasher
from tests.unit.services.small_node import SmallNode

from cairn.services.identity.messages import LogInByAccount
from cairn.services.identity.model import Account, AccountType
from cairn.services.identity.passwords import sha512_hex
from cairn.services.ids import AccountId

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


async def account(node: SmallNode, name: str, password: str = "secret", *, admin: bool = False) -> str:
    now = node.clock.now()
    row = Account(
        uuid=AccountId(node.ids.new()),
        name=name,
        type=AccountType.SYSTEM_ADMIN if admin else AccountType.NORMAL,
        password_hash=QUICK.hash(sha512_hex(password)),
        create_date=now,
        last_op_date=now,
    )
    await node.insert(row)
    return row.uuid


async def log_in(node: SmallNode, name: str, password: str = "secret") -> str:
    """A new session's uuid."""
    return (await node.call(LogInByAccount(account_name=name, password=password))).inventory.uuid
