"""The identity service: accounts, logins, sessions."""

from __future__ import annotations

from cairn.kernel.api import Reference
from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.cascade import Cascade, in_words
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import erase, write
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.identity.messages import (
    AccountStateEvent,
    ChangeAccountState,
    CreateAccount,
    DeleteAccount,
    LogInByAccount,
    LogOut,
    RenewSession,
    SessionAnswer,
    SessionsEnded,
    UpdateAccount,
    ValidateSession,
    Validity,
)
from cairn.services.identity.model import Account, AccountState, AccountType, Session, is_admin
from cairn.services.identity.passwords import Passwords, sha512_hex, wrong_password
from cairn.services.identity.sessions import Sessions


class IdentityService:
    """Answers the messages about accounts and sessions."""

    def __init__(
        self,
        bus: Bus,
        store: Store,
        jobs: Jobs,
        tags: Tags,
        cascade: Cascade,
        sessions: Sessions,
        passwords: Passwords,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._tags = tags
        self._cascade = cascade
        self._sessions = sessions
        self._passwords = passwords
        bus.register(LogInByAccount, self.log_in)
        bus.register(LogOut, self.log_out)
        bus.register(ValidateSession, self.validate)
        bus.register(RenewSession, self.renew)
        bus.register(CreateAccount, self.create)
        bus.register(UpdateAccount, self.update)
        bus.register(ChangeAccountState, self.change_state)
        bus.register(DeleteAccount, self.delete)

    # -- sessions -------------------------------------------------------------------------------------------------

    async def log_in(self, message: LogInByAccount) -> SessionAnswer:
        """Begin a session."""
        account = await self._store.read(lambda tx: _named(tx, message.account_name))
        password = sha512_hex(message.password, message.password_form)
        await self._passwords.compare(message.account_name, account.password_hash if account else None, password)
        if account is None:
            raise wrong_password()
        if account.state is not AccountState.ENABLED:
            raise CairnError(
                "auth.account-disabled",
                f"The account {account.name} is disabled. Ask an administrator.",
                kind=ErrorKind.FORBIDDEN,
            )
        return SessionAnswer(inventory=await self._sessions.begin(account))

    async def log_out(self, message: LogOut) -> None:
        """End a session."""
        await self._sessions.end(message.session_uuid)

    async def validate(self, message: ValidateSession) -> Validity:
        """Whether a session is alive."""
        return Validity(valid=await self._sessions.session(message.session_uuid) is not None)

    async def renew(self, message: RenewSession) -> SessionAnswer:
        """Let a session live on."""
        return SessionAnswer(inventory=await self._sessions.renew(message.session_uuid, message.duration))

    # -- accounts -------------------------------------------------------------------------------------------------

    async def create(self, message: CreateAccount) -> Reference:
        """Make an account."""
        self._tags.check("Account", message.system_tags)
        uuid = message.resource_uuid
        assert uuid is not None, "the gateway chooses the new account's uuid"
        password_hash = await self._passwords.hash(sha512_hex(message.password, message.password_form))

        def fn(tx: Tx) -> Reference:
            _refuse_taken(tx, message.name)
            write(
                tx,
                Account(
                    uuid=uuid,
                    name=message.name,
                    description=message.description,
                    type=message.type,
                    password_hash=password_hash,
                    create_date=tx.now,
                    last_op_date=tx.now,
                ),
            )
            self._tags.add(tx, "Account", uuid, system=message.system_tags, user=message.user_tags)
            return Reference(uuid=uuid)

        return await self._jobs.commit(fn)

    async def update(self, message: UpdateAccount) -> Reference:
        """Change name, description or password."""
        actor = current().actor
        before = await self._store.read(lambda tx: _allowed(tx, actor, message.uuid))
        await self._check_old_password(message, before, actor)
        password_hash = before.password_hash
        if message.password is not None:
            password_hash = await self._passwords.hash(sha512_hex(message.password, message.password_form))
        anothers = message.password is not None and actor != message.uuid

        def fn(tx: Tx) -> Reference:
            account = _allowed(tx, actor, message.uuid)
            if message.password is not None and account.password_hash != before.password_hash:
                raise CairnError(
                    "account.changed-meanwhile",
                    f"The password of {account.name} was changed by another call. Look whether it is still to be changed.",
                    kind=ErrorKind.CONFLICT,
                )
            if message.name is not None and message.name != account.name:
                _refuse_taken(tx, message.name)
            tx.update(
                Account,
                account.uuid,
                name=message.name or account.name,
                description=account.description if message.description is None else message.description,
                password_hash=password_hash if message.password is not None else account.password_hash,
                last_op_date=tx.now,
            )
            if anothers:
                tx.delete_where(Session, account_uuid=account.uuid)
            return Reference(uuid=account.uuid)

        answer = await self._jobs.commit(fn)
        if anothers:
            await self._sessions.forget(SessionsEnded(account=message.uuid))
        return answer

    async def _check_old_password(self, message: UpdateAccount, account: Account, actor: str | None) -> None:
        """Who is no admin shows the old password for a new one; a wrong one is refused to everybody."""
        if message.old_password is not None:
            old = sha512_hex(message.old_password, message.password_form)
            await self._passwords.compare(account.name, account.password_hash, old)
        elif message.password is not None and not await self._store.read(lambda tx: is_admin(tx, actor)):
            raise CairnError(
                "account.old-password-needed",
                "oldPassword: it is missing; a new password is only taken together with the old one.",
                kind=ErrorKind.INVALID,
                fields={"oldPassword": "missing; the present password would fit"},
            )

    async def change_state(self, message: ChangeAccountState) -> Reference:
        """Enable or disable."""
        enabled = message.state_event is AccountStateEvent.ENABLE
        actor = current().actor

        def fn(tx: Tx) -> Reference:
            account = _existing(tx, message.uuid)
            if not enabled:
                _refuse_needed(tx, account, actor, "disabled")
                tx.delete_where(Session, account_uuid=account.uuid)
            state = AccountState.ENABLED if enabled else AccountState.DISABLED
            tx.update(Account, account.uuid, state=state, last_op_date=tx.now)
            return Reference(uuid=account.uuid)

        answer = await self._jobs.commit(fn)
        await self._sessions.forget(SessionsEnded(account=message.uuid))
        return answer

    async def delete(self, message: DeleteAccount) -> None:
        """Delete; one that is gone is success."""
        actor = current().actor

        def fn(tx: Tx) -> None:
            account = tx.get(Account, message.uuid)
            if account is None:
                return
            _refuse_needed(tx, account, actor, "deleted")
            owned = self._cascade.owned(tx, account.uuid)
            if owned:
                raise CairnError(
                    "account.in-use",
                    f"The account {account.name} owns {in_words(owned)}. Delete them first.",
                    kind=ErrorKind.CONFLICT,
                    details={"owned": {entity: str(count) for entity, count in owned.items()}},
                )
            self._tags.forget(tx, account.uuid)
            tx.delete_where(Session, account_uuid=account.uuid)
            erase(tx, Account, account.uuid)

        await self._jobs.commit(fn)
        await self._sessions.forget(SessionsEnded(account=message.uuid))


def _named(tx: Tx, name: str) -> Account | None:
    rows = tx.find(Account, name=name)
    return rows[0] if rows else None


def _existing(tx: Tx, uuid: str) -> Account:
    account = tx.get(Account, uuid)
    if account is None:
        raise not_found("account", "uuid", uuid)
    return account


def _allowed(tx: Tx, actor: str | None, uuid: str) -> Account:
    """The account, if `actor` may change it; others hear that there is none."""
    if actor != uuid and not is_admin(tx, actor):
        raise not_found("account", "uuid", uuid)
    return _existing(tx, uuid)


def _refuse_taken(tx: Tx, name: str) -> None:
    if _named(tx, name) is not None:
        raise CairnError(
            "account.name-taken",
            f"name: there is an account {name!r} already. Choose another name.",
            kind=ErrorKind.CONFLICT,
            fields={"name": f"found {name!r}; a name that no other account has would fit"},
        )


def _refuse_needed(tx: Tx, account: Account, actor: str | None, verb: str) -> None:
    """Nobody locks itself out, nor everybody."""
    if account.uuid == actor:
        raise CairnError(
            "account.own",
            f"Your own account cannot be {verb}. Have another administrator do it.",
            kind=ErrorKind.CONFLICT,
        )
    admins = tx.find(Account, type=AccountType.SYSTEM_ADMIN, state=AccountState.ENABLED, limit=2)
    if [admin.uuid for admin in admins] == [account.uuid]:
        raise CairnError(
            "account.last-admin",
            f"{account.name} is the last administrator and cannot be {verb}. Create another one first.",
            kind=ErrorKind.CONFLICT,
        )
