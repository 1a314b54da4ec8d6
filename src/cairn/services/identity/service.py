"""The identity service: accounts, logins, sessions."""

from __future__ import annotations

from cairn.kernel.api import Reference, StateEvent
from cairn.kernel.bus.context import current
from cairn.kernel.bus.handlers import handles
from cairn.kernel.cascade import Cascade, in_words
from cairn.kernel.error import CairnError, ErrorKind, not_found
from cairn.kernel.jobs import Jobs
from cairn.kernel.resource import EnabledState, Resource, changed, create, erase, existing, state_changed
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import Tags
from cairn.services.identity.messages import (
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
from cairn.services.identity.model import Account, AccountType, Session, is_admin
from cairn.services.identity.passwords import Passwords, sha512_hex, wrong_password
from cairn.services.identity.sessions import Sessions
from cairn.services.identity.throttle import place_of


class IdentityService:
    """Answers the messages about accounts and sessions."""

    def __init__(
        self,
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

    # -- sessions -------------------------------------------------------------------------------------------------

    @handles(LogInByAccount)
    async def log_in(self, message: LogInByAccount) -> SessionAnswer:
        """Compare the password and begin a session."""
        account = await self._store.read(lambda tx: _named(tx, message.account_name))
        password = sha512_hex(message.password, message.password_form)
        kept = account.password_hash if account else None
        await self._passwords.compare(message.account_name, kept, password, _place())
        if account is None:
            raise wrong_password()
        if account.state is not EnabledState.ENABLED:
            raise CairnError(
                "auth.account-disabled",
                f"The account {account.name} is disabled. Ask an administrator.",
                kind=ErrorKind.FORBIDDEN,
            )
        return SessionAnswer(inventory=await self._sessions.begin(account))

    @handles(LogOut)
    async def log_out(self, message: LogOut) -> None:
        """End a session; one that is over is success."""
        await self._sessions.end(message.session_uuid)

    @handles(ValidateSession)
    async def validate(self, message: ValidateSession) -> Validity:
        """Tell whether a session is alive."""
        return Validity(valid=await self._sessions.session(message.session_uuid) is not None)

    @handles(RenewSession)
    async def renew(self, message: RenewSession) -> SessionAnswer:
        """Let a session live on, from now for as long as the call says."""
        return SessionAnswer(inventory=await self._sessions.renew(message.session_uuid, message.duration))

    # -- accounts -------------------------------------------------------------------------------------------------

    @handles(CreateAccount)
    async def create(self, message: CreateAccount) -> Reference:
        """Make an account; its name must be free."""
        password_hash = await self._passwords.hash(sha512_hex(message.password, message.password_form))

        def fn(tx: Tx) -> Reference:
            _refuse_taken(tx, message.name)
            return create(tx, self._tags, Account, message, password_hash=password_hash)

        return await self._jobs.commit(fn)

    @handles(UpdateAccount)
    async def update(self, message: UpdateAccount) -> Reference:
        """Change an account's name, description or password."""
        actor = current().actor
        before = await self._store.read(lambda tx: _allowed(tx, actor, message.uuid))
        await self._check_old_password(message, before, actor)
        new_password: dict[str, str] = {}
        if message.password is not None:
            password = sha512_hex(message.password, message.password_form)
            new_password["password_hash"] = await self._passwords.hash(password)

        def fn(tx: Tx) -> Reference:
            account = _allowed(tx, actor, message.uuid, lock=True)
            if message.password is not None and account.password_hash != before.password_hash:
                raise CairnError(
                    "account.changed-meanwhile",
                    f"The password of {account.name} was changed by another call. Look whether it is still to be changed.",
                    kind=ErrorKind.CONFLICT,
                )
            if message.name is not None and message.name != account.name:
                _refuse_taken(tx, message.name)
            if message.password is not None:
                self._sessions.end_others(tx, account.uuid)
            return changed(tx, Account, message, **new_password)

        answer = await self._jobs.commit(fn)
        if message.password is not None:
            await self._sessions.forget(SessionsEnded(account=message.uuid))
        return answer

    async def _check_old_password(self, message: UpdateAccount, account: Account, actor: str | None) -> None:
        """Demand the old password for a new one, except of administrators; a wrong one is always refused."""
        if message.old_password is not None:
            old = sha512_hex(message.old_password, message.password_form)
            await self._passwords.compare(account.name, account.password_hash, old, _place())
        elif message.password is not None and not await self._store.read(lambda tx: is_admin(tx, actor)):
            raise CairnError(
                "account.old-password-needed",
                "oldPassword: it is missing; a new password is only taken together with the old one.",
                kind=ErrorKind.INVALID,
                fields={"oldPassword": "missing; the present password would fit"},
            )

    @handles(ChangeAccountState)
    async def change_state(self, message: ChangeAccountState) -> Reference:
        """Enable or disable an account; either way its sessions are looked at again."""
        actor = current().actor

        def fn(tx: Tx) -> Reference:
            if message.state_event is StateEvent.DISABLE:
                account = existing(tx, Account, message.uuid, lock=True)  # no session begins while they are ended
                _refuse_needed(tx, account, actor, "disabled")
                tx.delete_where(Session, account_uuid=account.uuid)
            return state_changed(tx, Account, message)

        answer = await self._jobs.commit(fn)
        await self._sessions.forget(SessionsEnded(account=message.uuid))
        return answer

    @handles(DeleteAccount)
    async def delete(self, message: DeleteAccount) -> None:
        """Delete an account that owns nothing; one that is gone is success. Its sessions go with its row."""
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
            _refuse_coming(tx, account)
            erase(tx, Account, account.uuid)

        await self._jobs.commit(fn)
        await self._sessions.forget(SessionsEnded(account=message.uuid))


def _place() -> str:
    """Where the call comes from."""
    origin = current().origin
    return place_of(origin.address if origin is not None else None)


def _named(tx: Tx, name: str) -> Account | None:
    rows = tx.find(Account, name=name)
    return rows[0] if rows else None


def _allowed(tx: Tx, actor: str | None, uuid: str, *, lock: bool = False) -> Account:
    """The account, if `actor` may change it; to others it does not exist."""
    if actor != uuid and not is_admin(tx, actor):
        raise not_found("account", "uuid", uuid)
    return existing(tx, Account, uuid, lock=lock)


def _refuse_taken(tx: Tx, name: str) -> None:
    if _named(tx, name) is not None:
        raise CairnError(
            "account.name-taken",
            f"name: there is an account {name!r} already. Choose another name.",
            kind=ErrorKind.CONFLICT,
            fields={"name": f"found {name!r}; a name that no other account has would fit"},
        )


def _refuse_coming(tx: Tx, account: Account) -> None:
    """Refuse to delete an account for which something is being made: it is in no table of its own yet."""
    coming = [row for row in tx.find(Resource, account_uuid=account.uuid, limit=2) if row.uuid != account.uuid]
    if coming:
        raise CairnError(
            "account.in-use",
            f"The account {account.name} will own the {coming[0].type} {coming[0].name}, whose creation was accepted and has not "
            "ended. Wait for its end, or cancel its job.",
            kind=ErrorKind.CONFLICT,
            details={"owned": {coming[0].type: "1"}},
        )


def _refuse_needed(tx: Tx, account: Account, actor: str | None, verb: str) -> None:
    """Refuse to take away the caller's own account, or the last administrator."""
    if account.uuid == actor:
        raise CairnError(
            "account.own",
            f"Your own account cannot be {verb}. Have another administrator do it.",
            kind=ErrorKind.CONFLICT,
        )
    # Locked, so that two who take each other's away come one after the other.
    admins = tx.find(
        Account, type=AccountType.SYSTEM_ADMIN, state=EnabledState.ENABLED, order_by="uuid", limit=2, lock=True
    )
    if [admin.uuid for admin in admins] == [account.uuid]:
        raise CairnError(
            "account.last-admin",
            f"{account.name} is the last administrator and cannot be {verb}. Create another one first.",
            kind=ErrorKind.CONFLICT,
        )
