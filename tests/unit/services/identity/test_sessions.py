from __future__ import annotations

import asyncio

import pytest
from tests.unit.services.identity.accounts import account, log_in
from tests.unit.services.small_node import SmallNode

from cairn.kernel.error import CairnError
from cairn.kernel.session import Authenticator, Caller
from cairn.kernel.store.store import Tx
from cairn.services.identity.messages import LogOut, RenewSession, SessionsEnded, ValidateSession
from cairn.services.identity.model import Account, Session
from cairn.services.identity.sessions import Sessions, digest


@pytest.fixture
def sessions(node: SmallNode) -> Sessions:
    found = node.context.need(Authenticator)
    assert isinstance(found, Sessions)
    return found


async def test_a_session_is_its_accounts(node: SmallNode, sessions: Sessions) -> None:
    ann, root = await account(node, "ann"), await account(node, "root", admin=True)
    anns, roots = await log_in(node, "ann"), await log_in(node, "root")

    assert await sessions.session(anns) == Caller(ann, False, anns)
    assert await sessions.session(roots) == Caller(root, True, roots)
    assert await sessions.session("f" * 32) is None


async def test_the_database_does_not_hold_what_callers_show(node: SmallNode) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")

    (row,) = await node.all(Session)

    assert row.uuid == digest(token) != token


async def test_a_session_expires(node: SmallNode, sessions: Sessions) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")

    await node.clock.advance(7199.0)
    assert await sessions.session(token) is not None
    await node.clock.advance(2.0)
    assert await sessions.session(token) is None
    await node.refused(RenewSession(session_uuid=token), "auth.expired")


async def test_looking_is_in_memory_and_again_after_a_minute(
    node: SmallNode, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")
    await sessions.session(token)
    reads: list[int] = []
    read = node.context.store.look

    async def counting(fn: object) -> object:
        reads.append(1)
        return await read(fn)  # type: ignore[arg-type]

    monkeypatch.setattr(node.context.store, "look", counting)
    for _ in range(10):
        assert await sessions.session(token) is not None
    assert reads == []
    await node.clock.advance(61.0)
    await sessions.session(token)
    assert reads == [1]


async def test_a_session_that_was_ended_elsewhere_is_over_within_a_minute(node: SmallNode, sessions: Sessions) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")
    await sessions.session(token)

    await node.context.store.write(lambda tx: tx.delete_where(Session))
    await node.clock.advance(61.0)

    assert await sessions.session(token) is None


async def test_a_session_that_another_node_announces_as_ended_is_over_at_once(
    node: SmallNode, sessions: Sessions
) -> None:
    ann = await account(node, "ann")
    first, second = await log_in(node, "ann"), await log_in(node, "ann")
    assert await sessions.session(first)
    assert await sessions.session(second)

    await node.context.store.write(lambda tx: tx.delete(Session, digest(first)))
    await node.context.bus.publish(SessionsEnded(sessions=[digest(first)]))
    await node.context.bus.settle()
    assert await sessions.session(first) is None
    assert await sessions.session(second) is not None

    await node.context.store.write(lambda tx: tx.delete_where(Session))
    await node.context.bus.publish(SessionsEnded(account=ann))
    await node.context.bus.settle()
    assert await sessions.session(second) is None


async def test_logout_ends_a_session_at_once_and_twice(node: SmallNode, sessions: Sessions) -> None:
    await account(node, "ann")
    token, other = await log_in(node, "ann"), await log_in(node, "ann")
    assert await sessions.session(token)

    await node.call(LogOut(session_uuid=token))
    await node.call(LogOut(session_uuid=token))

    assert await sessions.session(token) is None
    assert await sessions.session(other) is not None


async def test_a_session_that_ends_while_it_is_looked_up_is_not_remembered(
    node: SmallNode, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")
    read, gate = node.context.store.read, asyncio.Event()

    async def slow(fn: object) -> object:
        found: object = await read(fn)  # type: ignore[arg-type]
        await gate.wait()
        return found

    monkeypatch.setattr(node.context.store, "read", slow)
    looking = asyncio.create_task(sessions.session(token))
    await node.clock.settle()
    await sessions.end(token)
    gate.set()
    await looking

    assert await sessions.session(token) is None


async def test_renewing_counts_from_now(node: SmallNode, sessions: Sessions) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")
    await sessions.session(token)
    await node.clock.advance(7000.0)

    renewed = (await node.call(RenewSession(session_uuid=token, duration=86_400))).inventory

    assert renewed.uuid == token
    assert (renewed.expired_date - node.clock.now()).total_seconds() == 86_400
    await node.clock.advance(80_000.0)
    assert await sessions.session(token) is not None


async def test_validate_says_whether_a_session_lives(node: SmallNode) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")

    assert (await node.call(ValidateSession(session_uuid=token))).valid is True
    assert (await node.call(ValidateSession(session_uuid="f" * 32))).valid is False


async def test_expired_sessions_are_swept_once_an_hour(node: SmallNode, sessions: Sessions) -> None:
    await account(node, "ann")
    await log_in(node, "ann")
    await node.context.start_background()
    await node.clock.advance(3601.0)
    assert len(await node.all(Session)) == 1

    await node.clock.advance(7200.0)

    assert await node.all(Session) == []


async def test_beginning_one_too_many_is_refused_until_some_expire(node: SmallNode, sessions: Sessions) -> None:
    ann = await account(node, "ann")
    row = await node.one(Account, ann)

    def limit(tx: Tx) -> None:
        node.context.config.set(tx, "session", "maxConcurrent", "2")

    await node.context.store.write(limit)
    await sessions.begin(row)
    await sessions.begin(row)
    with pytest.raises(CairnError, match="too-many-sessions"):
        await sessions.begin(row)

    await node.clock.advance(7201.0)
    await sessions.begin(row)
    assert len(await node.all(Session)) == 1


async def test_log_in_removes_no_sessions_but_its_account_s(node: SmallNode, sessions: Sessions) -> None:
    ann, bob = await account(node, "ann"), await account(node, "bob")
    await log_in(node, "ann")
    await log_in(node, "bob")
    await node.clock.advance(7201.0)

    await sessions.begin(await node.one(Account, ann))

    assert sorted(row.account_uuid for row in await node.all(Session)) == sorted([ann, bob])


async def test_no_session_begins_for_an_account_whose_password_changed_meanwhile(
    node: SmallNode, sessions: Sessions
) -> None:
    ann = await account(node, "ann")
    row = await node.one(Account, ann)
    await node.context.store.write(lambda tx: tx.update(Account, ann, password_hash="other"))

    with pytest.raises(CairnError, match="Log in again"):
        await sessions.begin(row)


async def test_no_session_lives_longer_than_sessions_may_however_often_it_is_renewed(
    node: SmallNode, sessions: Sessions
) -> None:
    await account(node, "ann")
    token = await log_in(node, "ann")
    renewals = 0
    while await sessions.session(token) is not None:
        await node.clock.advance(6 * 3600.0)
        try:
            await sessions.renew(token, 31_536_000)
        except CairnError as error:
            assert error.code == "auth.expired"
            break
        renewals += 1
    assert renewals in (0, 7 * 4 - 1)
