"""API messages about accounts and sessions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from cairn.kernel.api import (
    Access,
    ApiChangeState,
    ApiCreate,
    ApiDelete,
    ApiQuery,
    ApiUpdate,
    Description,
    Http,
    Name,
    Secret,
    Uuid,
    action,
    delete,
    get,
    post,
)
from cairn.kernel.bus.message import Event
from cairn.services.identity.model import AccountType
from cairn.services.identity.passwords import PasswordForm, sha512_hex
from cairn.services.identity.policy import check_new

Password = Annotated[str, Meta(min_length=1, max_length=255), Secret()]
SessionUuid = Annotated[str, Meta(min_length=1, max_length=255), Secret()]


class SessionInventory(Struct, frozen=True, kw_only=True, rename="camel"):
    """A session. Anyone who knows its uuid acts as its account."""

    uuid: str
    account_uuid: str
    user_uuid: str  #: the account's
    expired_date: datetime
    create_date: datetime
    no_session_evaluation: bool = False  #: always; older clients look for it


class SessionAnswer(Struct, frozen=True, kw_only=True):
    """The session that was begun or renewed."""

    inventory: SessionInventory


class LogInByAccount(ApiQuery[SessionAnswer], frozen=True, kw_only=True, tag="identity.log-in"):
    """Begin a session. Its uuid goes into the header of further calls: ``Authorization: OAuth <uuid>``.

    Errors: ``auth.wrong-password`` (also for an account that does not exist), ``auth.too-many-tries`` (after several wrong
    passwords: each further one makes the wait longer), ``auth.busy`` (too many log in), ``auth.account-disabled``,
    ``auth.too-many-sessions``.
    """

    http: ClassVar[Http] = action("/accounts/login", "logInByAccount")
    access: ClassVar[Access] = Access.ANYBODY

    account_name: Annotated[str, Meta(min_length=1, max_length=255)]
    password: Password
    password_form: PasswordForm = PasswordForm.PLAIN


class LogOut(ApiQuery[None], frozen=True, kw_only=True, tag="identity.log-out"):
    """End a session. One that is over is success."""

    http: ClassVar[Http] = delete("/accounts/sessions/{sessionUuid}")
    access: ClassVar[Access] = Access.ANYBODY

    session_uuid: SessionUuid


class Validity(Struct, frozen=True, kw_only=True):
    """Tells whether a session is alive."""

    valid: bool


class ValidateSession(ApiQuery[Validity], frozen=True, kw_only=True, tag="identity.validate-session"):
    """Whether a session is alive."""

    http: ClassVar[Http] = get("/accounts/sessions/{sessionUuid}/valid")
    access: ClassVar[Access] = Access.ANYBODY

    session_uuid: SessionUuid


class RenewSession(ApiQuery[SessionAnswer], frozen=True, kw_only=True, tag="identity.renew-session"):
    """Have a session live longer, counted from now, but not beyond the setting session.maxLifetime, counted from the log-in.

    Errors: ``auth.expired``.
    """

    http: ClassVar[Http] = action("/accounts/sessions/{sessionUuid}/renew", "renewSession")

    session_uuid: SessionUuid
    duration: Annotated[int, Meta(ge=60, le=31_536_000)] | None = None  #: seconds; by default as after a login


class CreateAccount(ApiCreate, frozen=True, kw_only=True, tag="account.create"):
    """Create an account.

    Its password has at least 8 characters, and is none of those that everybody tries first.

    Errors: ``account.name-taken``, ``account.weak-password``.
    """

    http: ClassVar[Http] = post("/accounts")
    entity: ClassVar[str | None] = "Account"

    name: Name  #: to log in with; no two accounts have the same
    password: Password
    password_form: PasswordForm = PasswordForm.PLAIN
    type: AccountType = AccountType.NORMAL
    description: Description | None = None

    def check(self) -> None:
        """Refuse a password that is not of the form that `password_form` names, or that is guessed at once."""
        check_new(self.password, self.password_form, name=self.name)


class UpdateAccount(ApiUpdate, frozen=True, kw_only=True, tag="account.update"):
    """Change an account's name, description or password.

    An account that is not an admin can change itself only, and needs the old password for a new one. With a new password all
    sessions of the account end, but for the one that the call was made with.

    Errors: ``account.name-taken``, ``account.weak-password``, ``auth.wrong-password``, ``auth.too-many-tries``, ``auth.busy``.
    """

    http: ClassVar[Http] = action("/accounts/{uuid}", "updateAccount")
    entity: ClassVar[str | None] = "Account"
    access: ClassVar[Access] = Access.ACCOUNT

    password: Password | None = None
    old_password: Password | None = None
    password_form: PasswordForm = PasswordForm.PLAIN  #: of both passwords

    def check(self) -> None:
        """Refuse passwords that are not of the form that `password_form` names, and a new one that is guessed at once."""
        if self.password is not None:
            check_new(self.password, self.password_form, name=self.name)
        if self.old_password is not None:
            sha512_hex(self.old_password, self.password_form, "oldPassword")


class ChangeAccountState(ApiChangeState, frozen=True, kw_only=True, tag="account.change-state"):
    """Enable an account, or disable it: its sessions end, and logging in with it is refused. Its resources stay as they are.

    Errors: ``account.last-admin``, ``account.own``.
    """

    http: ClassVar[Http] = action("/accounts/{uuid}/actions", "changeAccountState")
    entity: ClassVar[str | None] = "Account"


class DeleteAccount(ApiDelete, frozen=True, kw_only=True, tag="account.delete"):
    """Delete an account that owns nothing. Its sessions end.

    Errors: ``account.in-use`` (with what it owns), ``account.last-admin``, ``account.own``.
    """

    http: ClassVar[Http] = delete("/accounts/{uuid}")
    entity: ClassVar[str | None] = "Account"

    uuid: Uuid


class SessionsEnded(Event, frozen=True, kw_only=True, tag="identity.sessions-ended"):
    """An announcement to all nodes: these sessions are over, so nothing may be remembered of them."""

    sessions: list[str] = []  #: their digests
    account: str | None = None  #: or all of this account
