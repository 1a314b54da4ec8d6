from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

import pytest
from tests.unit.services.identity.accounts import account, log_in
from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import StateEvent
from cairn.kernel.bus.context import CallContext, Origin, entered
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.job import JobState
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.resource import EnabledState, Resource
from cairn.kernel.session import Authenticator
from cairn.kernel.store.record import Key, Owner, Record, TableMeta
from cairn.kernel.tag import UserTag
from cairn.services.identity.messages import (
    ChangeAccountState,
    CreateAccount,
    DeleteAccount,
    LogInByAccount,
    UpdateAccount,
)
from cairn.services.identity.model import Account, AccountType, Session
from cairn.services.identity.passwords import PasswordForm, sha512_hex


class Boat(Record, frozen=True, kw_only=True):
    """Something that an account owns."""

    meta: ClassVar[TableMeta] = TableMeta(table="boat", entity="Boat")

    uuid: Annotated[str, Key()]
    account_uuid: Annotated[str, Owner()]


async def test_login_answers_what_clients_expect(node: SmallNode) -> None:
    ann = await account(node, "ann")

    session = (await node.call(LogInByAccount(account_name="ann", password="secret"))).inventory

    assert (session.account_uuid, session.user_uuid, session.no_session_evaluation) == (ann, ann, False)
    assert (session.expired_date - session.create_date).total_seconds() == 7200
    assert (session.create_date - node.clock.now()).total_seconds() == pytest.approx(0, abs=0.001)


async def test_login_with_the_sha512_of_the_password(node: SmallNode) -> None:
    await account(node, "ann")
    message = LogInByAccount(account_name="ann", password=sha512_hex("secret"), password_form=PasswordForm.SHA512)

    assert (await node.call(message)).inventory.uuid


@pytest.mark.parametrize("field", ["password", "oldPassword"])
async def test_a_password_in_another_form_than_announced_is_refused_before_it_is_a_job(field: str) -> None:
    form, good, bad = PasswordForm.SHA512, sha512_hex("another horse"), "short"
    given = {"password": good, "old_password": good} | {"old_password" if field == "oldPassword" else field: bad}

    with pytest.raises(CairnError) as caught:
        UpdateAccount(uuid="0" * 32, password_form=form, **given).check()

    assert (caught.value.code, list(caught.value.fields)) == ("auth.bad-password-form", [field])


async def test_login_does_not_tell_a_wrong_password_from_an_unknown_name(node: SmallNode) -> None:
    await account(node, "ann")

    wrong = await node.refused(LogInByAccount(account_name="ann", password="x"), "auth.wrong-password")
    unknown = await node.refused(LogInByAccount(account_name="eve", password="x"), "auth.wrong-password")

    assert wrong.message == unknown.message
    assert wrong.kind is ErrorKind.UNAUTHENTICATED
    assert await node.all(Session) == []


async def test_login_is_throttled_by_name(node: SmallNode) -> None:
    await account(node, "ann")
    for _ in range(5):
        await node.refused(LogInByAccount(account_name="ann", password="x"), "auth.wrong-password")

    await node.refused(LogInByAccount(account_name="ann", password="secret"), "auth.too-many-tries")
    await node.clock.advance(2.0)
    await log_in(node, "ann")


async def test_create_account_by_job_keeps_no_password_and_can_log_in(node: SmallNode) -> None:
    uuid = node.ids.new()

    job = await node.job(CreateAccount(resource_uuid=uuid, name="ann", password="top-secret"))

    assert job.state is JobState.SUCCEEDED
    assert b"top-secret" not in job.request
    assert b"password" not in (job.answer or b"").lower()
    row = await node.one(Account, uuid)
    assert row.type is AccountType.NORMAL
    assert "top-secret" not in row.password_hash
    assert await log_in(node, "ann", "top-secret")


async def test_two_accounts_with_one_name_are_refused(node: SmallNode) -> None:
    await account(node, "ann")
    bob = await account(node, "bob")

    await node.refused(
        CreateAccount(resource_uuid=node.ids.new(), name="ann", password="another horse"), "account.name-taken"
    )
    await node.refused(UpdateAccount(uuid=bob, name="ann"), "account.name-taken")


async def test_new_password_ends_all_sessions_but_the_one_that_it_was_given_with(node: SmallNode) -> None:
    ann = await account(node, "ann")
    own, stolen = await log_in(node, "ann"), await log_in(node, "ann")
    sessions = node.context.need(Authenticator)
    assert await sessions.session(own) and await sessions.session(stolen)

    await node.refused(UpdateAccount(uuid=ann, password="new horse"), "account.old-password-needed", actor=ann)
    guess = UpdateAccount(uuid=ann, password="new horse", old_password="wrong")
    await node.refused(guess, "auth.wrong-password", actor=ann)
    with entered(CallContext(actor=ann, origin=Origin(session=own))):
        await node.context.bus.call(UpdateAccount(uuid=ann, password="new horse", old_password="secret"))

    assert await sessions.session(own)
    assert await sessions.session(stolen) is None
    assert await log_in(node, "ann", "new horse")
    await node.refused(LogInByAccount(account_name="ann", password="secret"), "auth.wrong-password")


async def test_after_a_restart_a_new_password_ends_all_sessions(node: SmallNode) -> None:
    ann = await account(node, "ann")
    token = await log_in(node, "ann")

    await node.call(UpdateAccount(uuid=ann, password="new horse", old_password="secret"), actor=ann)

    assert await node.context.need(Authenticator).session(token) is None


async def test_strangers_do_not_lock_out_an_account_and_the_wait_grows(node: SmallNode) -> None:
    await account(node, "ann")
    message = LogInByAccount(account_name="ann", password="guess")
    waits = []
    for _ in range(9):
        with entered(CallContext(origin=Origin(address="203.0.113.7"))), pytest.raises(CairnError) as caught:
            await node.context.bus.call(message)
        if caught.value.code == "auth.too-many-tries":
            waits.append(caught.value.details["retryAfterSeconds"])
            await node.clock.advance(float(str(waits[-1])))

    assert waits == [2, 3]
    with entered(CallContext(origin=Origin(address="198.51.100.1"))):
        assert await node.context.bus.call(LogInByAccount(account_name="ann", password="secret"))


@pytest.mark.parametrize("password", ["", "x", "1234567", "password", "Password1", "qwertyuiop", "annann"])
async def test_weak_password_is_refused_in_words_before_it_is_a_job(password: str) -> None:
    for message in (
        CreateAccount(resource_uuid="0" * 32, name="ann", password=password),
        UpdateAccount(uuid="0" * 32, password=password),
    ):
        with pytest.raises(CairnError, match="would fit") as caught:
            message.check()
        assert (caught.value.code, list(caught.value.fields)) == ("account.weak-password", ["password"])


async def test_guessing_the_old_password_is_throttled_like_a_login(node: SmallNode) -> None:
    ann = await account(node, "ann")
    guess = UpdateAccount(uuid=ann, password="new horse", old_password="guess")
    for _ in range(5):
        await node.refused(guess, "auth.wrong-password", actor=ann)

    await node.refused(guess, "auth.too-many-tries", actor=ann)


async def test_an_admin_changes_anothers_password_and_ends_its_sessions(node: SmallNode) -> None:
    root, ann = await account(node, "root", admin=True), await account(node, "ann")
    token = await log_in(node, "ann")
    sessions = node.context.need(Authenticator)
    assert await sessions.session(token)

    await node.call(UpdateAccount(uuid=ann, password="new horse"), actor=root)

    assert await sessions.session(token) is None
    assert await log_in(node, "ann", "new horse")


async def test_nobody_but_an_admin_changes_anothers_account(node: SmallNode) -> None:
    ann, bob = await account(node, "ann"), await account(node, "bob")

    await node.refused(UpdateAccount(uuid=ann, name="mine"), "account.not-found", actor=bob)
    await node.call(UpdateAccount(uuid=bob, name="robert", description="me"), actor=bob)

    row = await node.one(Account, bob)
    assert (row.name, row.description) == ("robert", "me")


async def test_a_disabled_account_is_thrown_out_and_cannot_log_in(node: SmallNode) -> None:
    root, ann = await account(node, "root", admin=True), await account(node, "ann")
    token = await log_in(node, "ann")
    sessions = node.context.need(Authenticator)
    assert await sessions.session(token)

    await node.call(ChangeAccountState(uuid=ann, state_event=StateEvent.DISABLE), actor=root)

    assert await sessions.session(token) is None
    assert (await node.one(Account, ann)).state is EnabledState.DISABLED
    await node.refused(LogInByAccount(account_name="ann", password="secret"), "auth.account-disabled")
    await node.refused(LogInByAccount(account_name="ann", password="wrong"), "auth.wrong-password")
    await node.call(ChangeAccountState(uuid=ann, state_event=StateEvent.ENABLE), actor=root)
    assert await log_in(node, "ann")


async def test_deleting_an_account_ends_its_sessions_and_tags(node: SmallNode) -> None:
    root, ann = await account(node, "root", admin=True), await account(node, "ann")
    token = await log_in(node, "ann")
    sessions = node.context.need(Authenticator)
    assert await sessions.session(token)
    tag = UserTag(uuid="t", resource_uuid=ann, resource_type="Account", tag="x", create_date=node.clock.now())
    await node.insert(tag)

    await node.call(DeleteAccount(uuid=ann), actor=root)
    await node.call(DeleteAccount(uuid=ann), actor=root)

    assert await sessions.session(token) is None
    assert await node.all(Session) == []
    assert await node.all(UserTag) == []
    assert [row.name for row in await node.all(Account)] == ["root"]


async def test_an_account_that_owns_things_stays_and_they_are_named() -> None:
    node = await SmallNode().start(Manifest(package=__name__, doc="Boats."))
    root, ann = await account(node, "root", admin=True), await account(node, "ann")
    await node.insert(Boat(uuid="b1", account_uuid=ann), Boat(uuid="b2", account_uuid=ann))
    await node.job(UpdateAccount(uuid=ann, description="has a job, too"), actor=ann)

    error = await node.refused(DeleteAccount(uuid=ann), "account.in-use", actor=root)

    assert "owns 2 Boats." in error.message
    await node.context.store.write(lambda tx: tx.delete_where(Boat))
    await node.call(DeleteAccount(uuid=ann), actor=root)
    await node.stop()


async def test_an_account_stays_while_something_is_made_for_it(node: SmallNode) -> None:
    root, ann = await account(node, "root", admin=True), await account(node, "ann")
    coming = Resource(
        uuid="v1", type="VmInstance", name="web", account_uuid=ann, job_uuid="j", create_date=node.clock.now()
    )
    await node.context.store.write(lambda tx: tx.insert(coming))

    error = await node.refused(DeleteAccount(uuid=ann), "account.in-use", actor=root)

    assert "will own the VmInstance web" in error.message
    await node.context.store.write(lambda tx: tx.delete(Resource, "v1"))
    await node.call(DeleteAccount(uuid=ann), actor=root)
    assert [row.name for row in await node.all(Account)] == ["root"]


async def test_admins_lock_out_neither_themselves_nor_everybody(node: SmallNode) -> None:
    root, second = await account(node, "root", admin=True), await account(node, "second", admin=True)
    disable = StateEvent.DISABLE

    await node.refused(DeleteAccount(uuid=root), "account.own", actor=root)
    await node.refused(ChangeAccountState(uuid=root, state_event=disable), "account.own", actor=root)
    await node.call(DeleteAccount(uuid=second), actor=root)
    await node.refused(DeleteAccount(uuid=root), "account.last-admin")
    await node.refused(ChangeAccountState(uuid=root, state_event=disable), "account.last-admin")


async def test_an_account_sees_itself_and_no_password(node: SmallNode) -> None:
    await account(node, "ann")
    created: datetime = node.clock.now()

    (row,) = await node.all(Account)
    shown = await node.shown("Account", row.uuid)

    assert set(shown) == {"uuid", "name", "description", "type", "state", "createDate", "lastOpDate"}
    assert row.create_date == created
