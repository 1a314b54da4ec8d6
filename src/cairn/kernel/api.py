"""API messages: the gateway, the command line and the API's description are made of them.

An API message is a bus message that also says how it looks over HTTP. Its class name is the API's name
(``CreateVmInstance``), its fields are the parameters, its docstrings are the reference.

`ApiCommand`
    changes something: becomes a job. Its answer is a `Reference` to the resource, or ``None``.
`ApiQuery`
    only reads, or is quick and has nothing to undo (a login): answered at once.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args, get_type_hints

from msgspec import Meta, Struct
from msgspec.structs import fields

from cairn.kernel.bus.message import Command, Query
from cairn.kernel.ids import UUID_PATTERN
from cairn.kernel.limits import CallLimit
from cairn.kernel.words import LINE_PATTERN, PARAGRAPHS_PATTERN, dashed

R = TypeVar("R")


class Access(StrEnum):
    """The right that a caller of an API needs."""

    ANYBODY = "anybody"  #: without a session: logins
    ACCOUNT = "account"  #: any account, on its own resources
    ADMIN = "admin"  #: the admin account


class Http(Struct, frozen=True, kw_only=True):
    """The method and path of an API.

    Args:
        verb: GET, POST, PUT or DELETE.
        path: below the version's prefix: ``/zones/{uuid}/actions``; names in braces are wire names of fields.
        key: the body's key that holds the parameters: ``params`` of creations, the action's name of actions.
    """

    verb: str
    path: str
    key: str | None = None


def post(path: str) -> Http:
    """A creation: ``POST path {"params": {...}}``."""
    return Http(verb="POST", path=path, key="params")


def action(path: str, key: str) -> Http:
    """An action: ``PUT path {"<key>": {...}}``."""
    return Http(verb="PUT", path=path, key=key)


def delete(path: str) -> Http:
    """A removal: ``DELETE path?deleteMode=``."""
    return Http(verb="DELETE", path=path)


def get(path: str) -> Http:
    """A read whose fields come from the query string."""
    return Http(verb="GET", path=path)


class Secret:
    """Marks a field that must not be logged, shown or kept: ``Annotated[str, Secret()]``."""


class Refers:
    """Marks a field that holds the uuid (or list of uuids) of an `entity`; the gateway checks that it exists."""

    def __init__(self, entity: str) -> None:
        self.entity = entity


Uuid = Annotated[str, Meta(pattern=UUID_PATTERN, max_length=32, description="32 lower-case hex digits")]
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=LINE_PATTERN,
        description="text of 1 to 255 characters, without control characters",
    ),
]
Description = Annotated[
    str,
    Meta(
        max_length=2048,
        pattern=PARAGRAPHS_PATTERN,
        description="text of at most 2048 characters, without control characters other than tabs and ends of lines",
    ),
]
#: Definitions of system tags have bounds of their own, in bytes and as a rule lower (`cairn.kernel.tag`).
LONGEST_TAG = 131_072
UserTagText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4096,
        pattern=PARAGRAPHS_PATTERN,
        description="text of 1 to 4096 characters, without control characters other than tabs and ends of lines",
    ),
]
SystemTagText = Annotated[str, Meta(min_length=1, max_length=LONGEST_TAG)]
SystemTags = Annotated[list[SystemTagText], Meta(max_length=100)]
UserTags = Annotated[list[UserTagText], Meta(max_length=100)]


class Reference(Struct, frozen=True, kw_only=True):
    """The answer of a command about one resource; the caller is shown the resource's inventory."""

    uuid: str


class DeleteMode(StrEnum):
    """How a removal treats resources that stand in its way."""

    PERMISSIVE = "Permissive"  #: extensions and services may refuse
    ENFORCING = "Enforcing"  #: things that cannot be reached are left behind and noted


class ApiCommand(Command[R], Generic[R], frozen=True, kw_only=True):
    """An API call that changes something. It is answered with a job."""

    abstract: ClassVar[bool] = True
    http: ClassVar[Http]
    #: the entity that a `Reference` answer is of, ``Zone``
    entity: ClassVar[str | None] = None
    access: ClassVar[Access] = Access.ADMIN
    #: whether it waits, where it is one transaction, for the workflows in its resource's queue (`Jobs.commit`)
    takes_turn: ClassVar[bool] = True
    #: seconds allowed when the caller does not say
    default_timeout_seconds: ClassVar[float] = 1800.0
    #: how many such calls run at a time, where they are slow (`cairn.kernel.limits.call_limit`)
    limit: ClassVar[CallLimit | None] = None

    def frees(self) -> bool:
        """Whether the call gives something back or ends something. A reserve of places is kept for such calls."""
        return False

    def check(self) -> None:
        """Refuse the call if its fields alone show that it is wrong. Called before it is accepted; pure, and quick.

        Raises:
            CairnError: of the kind `INVALID`, naming the fields.
        """

    def check_for_account(self) -> None:
        """Refuse what only administrators may ask for in a call that is open to accounts. Called after `check`, for others.

        Raises:
            CairnError: of the kind `FORBIDDEN`, naming the fields.
        """


class ApiCreate(ApiCommand[Reference], frozen=True, kw_only=True):
    """An API call that makes a resource."""

    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "resource_uuid"
    takes_turn: ClassVar[bool] = False  # nobody else knows the resource yet
    resource_uuid: Uuid | None = None  #: the new resource's uuid; by default one is chosen
    system_tags: SystemTags = []  #: tags that plugins understand, ``hostname::web``
    user_tags: UserTags = []  #: free texts to find the resource by


class ApiDelete(ApiCommand[None], frozen=True, kw_only=True):
    """An API call that removes the resource that its field `uuid` names. One that is gone already is success."""

    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "uuid"
    delete_mode: DeleteMode = DeleteMode.PERMISSIVE

    def frees(self) -> bool:
        """A removal does."""
        return True


class ApiChange(ApiCommand[Reference], frozen=True, kw_only=True):
    """An API call that changes the resource whose uuid its path names: ``PUT /zones/{uuid}/actions``."""

    abstract: ClassVar[bool] = True
    route: ClassVar[str | None] = "uuid"

    uuid: Uuid


class ApiUpdate(ApiChange, frozen=True, kw_only=True):
    """An API call that changes the name or description of a resource; fields that are left out stay."""

    abstract: ClassVar[bool] = True
    takes_turn: ClassVar[bool] = False

    name: Name | None = None
    description: Description | None = None


class StateEvent(StrEnum):
    """The change of state that a caller asks for."""

    ENABLE = "enable"
    DISABLE = "disable"


class ApiChangeState(ApiChange, frozen=True, kw_only=True):
    """An API call that enables or disables a resource."""

    abstract: ClassVar[bool] = True
    takes_turn: ClassVar[bool] = False

    state_event: StateEvent

    def frees(self) -> bool:
        """Disabling ends something."""
        return self.state_event is StateEvent.DISABLE


class ApiQuery(Query[R], Generic[R], frozen=True, kw_only=True):
    """An API call that is answered at once."""

    abstract: ClassVar[bool] = True
    http: ClassVar[Http]
    access: ClassVar[Access] = Access.ACCOUNT


AnyApi = ApiCommand[Any] | ApiQuery[Any]


@cache
def secret_fields(api: type[AnyApi]) -> tuple[str, ...]:
    """The wire names of the fields that are marked `Secret`, on their own or inside an optional type."""
    hints = get_type_hints(api, include_extras=True)
    return tuple(field.encode_name for field in fields(api) if is_secret(hints[field.name]))


def is_secret(hint: object) -> bool:
    """Whether a field's type is marked `Secret`, on its own or inside an optional type."""
    if any(isinstance(mark, Secret) for mark in getattr(hint, "__metadata__", ())):
        return True
    return any(is_secret(part) for part in get_args(hint))


def command_name(api: str) -> str:
    """The name of an API on the command line: ``CreateVmInstance`` -> ``create-vm-instance``."""
    return dashed(api)
