"""Sessions: begun, looked up at each call, ended.

A lookup is in memory. A session that ended on another node is over here as soon as that says so, and a second later if that
got lost: the end, and each change of an account that matters, is told with the commit (`cairn.kernel.invalidation`). Besides,
an entry is believed for `_FRESH_SECONDS` only, then the row is read again. On this node a session is over at once: all code
that ends sessions also forgets them here, and a row that was being read meanwhile is not remembered.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import bindparam, delete

from cairn.kernel.bus.bus import Bus
from cairn.kernel.bus.context import current
from cairn.kernel.clock import Clock
from cairn.kernel.config import GlobalConfig
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import IdSource
from cairn.kernel.invalidation import Invalidations, Keys, forget
from cairn.kernel.resource import EnabledState
from cairn.kernel.retention import remove, up_to
from cairn.kernel.session import Authenticator, Caller
from cairn.kernel.store.record import table_of
from cairn.kernel.store.store import Store, Tx
from cairn.services.identity import config
from cairn.services.identity.messages import SessionInventory, SessionsEnded
from cairn.services.identity.model import Account, AccountType, Session

_FRESH_SECONDS = 60.0
_REMEMBERED = 10_000

_session = table_of(Session)
_EXPIRED = up_to(Session, "expired_date")
_OTHERS_OF_ACCOUNT = delete(_session).where(
    _session.c.account_uuid == bindparam("account"), _session.c.uuid != bindparam("but")
)
_EXPIRED_OF_ACCOUNT = delete(_session).where(
    _session.c.account_uuid == bindparam("account"), _session.c.expired_date <= bindparam("now")
)


class _Known(Struct, frozen=True, kw_only=True):
    caller: Caller
    expires: datetime
    until: float  #: by the monotonic clock: read the row again then


class Sessions(Authenticator):
    """All sessions."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        clock: Clock,
        ids: IdSource,
        settings: GlobalConfig,
        lifetime_seconds: int,
        invalidation: Invalidations,
    ) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._lifetime_seconds = lifetime_seconds
        self._known: dict[str, _Known] = {}
        self._endings = 0
        bus.subscribe(SessionsEnded, self._heard, "identity")
        invalidation.on(Session, self._sessions_changed)
        invalidation.on(Account, self._accounts_changed)

    # -- looking --------------------------------------------------------------------------------------------------

    async def session(self, session_uuid: str) -> Caller | None:
        """Look in memory; read the rows if the session is not known there, or not for a while."""
        key = digest(session_uuid)
        known = self._known.get(key)
        now = self._clock.monotonic()
        if known is None or known.until <= now:
            known = await self._look(key, session_uuid)
        if known is None or known.expires <= self._clock.now():
            self._known.pop(key, None)
            return None
        return known.caller

    async def _look(self, key: str, session_uuid: str) -> _Known | None:
        endings = self._endings

        def fn(tx: Tx) -> tuple[Session, Account] | None:
            row = tx.get(Session, key)
            account = tx.get(Account, row.account_uuid) if row is not None else None
            return None if row is None or account is None else (row, account)

        found = await self._store.look(fn)
        if found is None:
            return None
        row, account = found
        known = _Known(
            caller=Caller(account.uuid, account.type is AccountType.SYSTEM_ADMIN, session_uuid),
            expires=min(row.expired_date, self._latest(row.create_date)),
            until=self._clock.monotonic() + _FRESH_SECONDS,
        )
        if endings == self._endings:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = known
        return known

    # -- beginning and renewing -----------------------------------------------------------------------------------

    async def begin(self, account: Account) -> SessionInventory:
        """A new session, if the account is still as it was when its password was compared.

        Raises:
            CairnError: ``auth.too-many-sessions``, ``auth.expired`` when the account has changed meanwhile.
        """
        token = self._ids.new()
        most = self._settings.get(config.MAX_SESSIONS)

        def fn(tx: Tx) -> SessionInventory:
            now = tx.get(Account, account.uuid, lock=True)  # its sessions begin one after the other
            if now is None or now.password_hash != account.password_hash or now.state is not EnabledState.ENABLED:
                raise over()
            tx.execute(_EXPIRED_OF_ACCOUNT, {"account": account.uuid, "now": tx.now})
            if tx.count(Session, account_uuid=account.uuid) >= most:
                raise CairnError(
                    "auth.too-many-sessions",
                    f"The account {account.name} has {most} sessions. Log out of some, wait until they expire, or raise "
                    f"the setting {config.MAX_SESSIONS.key}.",
                    kind=ErrorKind.EXHAUSTED,
                )
            row = Session(
                uuid=digest(token),
                account_uuid=account.uuid,
                expired_date=min(tx.now + timedelta(seconds=self._lifetime_seconds), self._latest(tx.now)),
                create_date=tx.now,
            )
            tx.insert(row)
            return _inventory(row, token)

        return await self._store.write(fn)

    async def renew(self, session_uuid: str, duration_seconds: int | None) -> SessionInventory:
        """Let a session live on, for so long from now, but no longer than sessions may (``auth.expired``)."""
        key = digest(session_uuid)
        seconds = self._lifetime_seconds if duration_seconds is None else duration_seconds

        def fn(tx: Tx) -> SessionInventory:
            row = tx.get(Session, key)
            if row is None or row.expired_date <= tx.now:
                raise over()
            latest = self._latest(row.create_date)
            if latest <= tx.now:
                raise over()
            expires = min(tx.now + timedelta(seconds=seconds), latest)
            if not tx.update(Session, key, expired_date=expires):
                raise over()  # it was ended meanwhile
            tx.tell(Session, key)
            return _inventory(row, session_uuid, expires)

        inventory = await self._store.write(fn)
        await self.forget(SessionsEnded(sessions=[key]))  # nodes remember its former end
        return inventory

    def _latest(self, created: datetime) -> datetime:
        """When a session is over, however often it is renewed."""
        return created + timedelta(seconds=self._settings.get(config.MAX_LIFETIME))

    # -- ending ---------------------------------------------------------------------------------------------------

    async def end(self, session_uuid: str) -> None:
        """End a session. Safe to repeat."""
        key = digest(session_uuid)
        if await self._store.write(lambda tx: _end(tx, key)):
            await self.forget(SessionsEnded(sessions=[key]))

    def end_others(self, tx: Tx, account: str) -> None:
        """End all sessions of an account, but for the one that the call was made with. Then `forget` those of the account.

        If it is not known any more which that was, as after a restart of the node, all end.
        """
        origin = current().origin
        own = digest(origin.session) if origin is not None and origin.session is not None else ""
        tx.execute(_OTHERS_OF_ACCOUNT, {"account": account, "but": own})

    async def forget(self, ended: SessionsEnded) -> None:
        """Forget what is remembered of sessions whose rows have changed, here and on all nodes."""
        await self._heard(ended)
        await self._bus.publish(ended)

    async def _heard(self, ended: SessionsEnded) -> None:
        self._sessions_changed(frozenset(ended.sessions))
        if ended.account is not None:
            self._accounts_changed(frozenset((ended.account,)))

    def _sessions_changed(self, keys: Keys) -> None:
        self._endings += 1
        forget(self._known, keys)

    def _accounts_changed(self, accounts: Keys) -> None:
        self._endings += 1
        if accounts is None:
            self._known.clear()
            return
        gone = [key for key, known in self._known.items() if known.caller.account_uuid in accounts]
        for key in gone:
            del self._known[key]

    # -- sweeping -------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Remove expired sessions from the database. Safe to repeat."""
        await remove(self._store, _EXPIRED, self._clock.now())

    async def trim(self) -> None:
        """Forget expired sessions on this node. Safe to repeat."""
        now = self._clock.now()
        self._known = {key: known for key, known in self._known.items() if known.expires > now}


def digest(session_uuid: str) -> str:
    """The digest of a session's uuid, which is kept in its place."""
    return hashlib.blake2b(session_uuid.encode(), digest_size=16, person=b"cairn-session").hexdigest()


def _end(tx: Tx, key: str) -> int:
    tx.tell(Session, key)
    return tx.delete(Session, key)


def over() -> CairnError:
    """The error for a session that never was or is over."""
    return CairnError(
        "auth.expired",
        "The session has expired, was ended, or never was. Log in again.",
        kind=ErrorKind.UNAUTHENTICATED,
    )


def _inventory(row: Session, session_uuid: str, expires: datetime | None = None) -> SessionInventory:
    return SessionInventory(
        uuid=session_uuid,
        account_uuid=row.account_uuid,
        user_uuid=row.account_uuid,
        expired_date=expires or row.expired_date,
        create_date=row.create_date,
    )
