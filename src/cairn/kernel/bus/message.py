"""Messages: one frozen class each, named by its tag, its answer's type part of the class.

A command asks one service and gets one answer; a query does so and only reads; an event tells what has happened and
gets none::

    class StartVm(Command[VmStarted], frozen=True, kw_only=True, tag="vm.start"):
        route: ClassVar[str | None] = "vm"
        vm: VmId

A wrong declaration fails when its module is imported, with a sentence that names it. Checks sit in a metaclass
because msgspec knows a struct's fields and tag only once the class is made, after ``__init_subclass__``.
"""

from __future__ import annotations

import re
import sys
from typing import Any, ClassVar, ForwardRef, Generic, TypeVar, cast, get_args, get_origin

import msgspec
from msgspec import Struct

from cairn.kernel.error import CairnError, ErrorKind

#: The name of the tag among a message's fields on the wire. No field of an API can have it.
TAG_FIELD = "@message"

_TAG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\.[a-z][a-z0-9]*(-[a-z0-9]+)*")
_types: dict[str, type[Message]] = {}
_answers: dict[type[Message], Any] = {}

R_co = TypeVar("R_co", covariant=True)


class _MessageMeta(msgspec.StructMeta):
    """Checks each message class when it is declared."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **config: Any) -> Any:
        config.setdefault("kw_only", True)
        if config.get("tag") is not None:
            config["tag_field"] = TAG_FIELD
        cls: Any = super().__new__(mcs, name, bases, namespace, **config)
        if not namespace.get("abstract") and not getattr(cls, "__parameters__", ()):
            _check(cls, config.get("tag"))
        return cls


class Message(Struct, metaclass=_MessageMeta, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """The base of all messages on the bus. Declare a `Command`, `Query` or `Event`, never this."""

    #: True in a class that only hands fields to others and is never sent itself. So is a class that is still generic.
    abstract: ClassVar[bool] = True
    #: The field whose value picks the node over the ring. None, or a field that is None: the call stays on this node.
    route: ClassVar[str | None] = None


class Command(Message, Generic[R_co], frozen=True, kw_only=True):
    """Asks one service to do something and gets one answer of type `R_co`, a msgspec Struct or None."""

    abstract: ClassVar[bool] = True


class Query(Message, Generic[R_co], frozen=True, kw_only=True):
    """Asks one service for something, changes nothing, and gets one answer of type `R_co`."""

    abstract: ClassVar[bool] = True


class Event(Message, frozen=True, kw_only=True):
    """Tells what has happened, in the past tense. Anyone may listen; nobody answers."""

    abstract: ClassVar[bool] = True


def message_type(tag: str) -> type[Message]:
    """The class declared with `tag`.

    Raises:
        CairnError: ``bus.unknown-message`` when no class that was imported has it.
    """
    found = _types.get(tag)
    if found is None:
        raise CairnError(
            "bus.unknown-message",
            f"There is no message {tag!r} on this node. The plugin that declares it may be left out, "
            "or a node may run an older version.",
            kind=ErrorKind.INTERNAL,
        )
    return found


def message_types() -> dict[str, type[Message]]:
    """All messages declared so far, by tag."""
    return dict(_types)


def answer_type(cls: type[Message]) -> Any:
    """The type that `cls` is answered with: a Struct class, or None for "done, nothing to say" and for events."""
    try:
        return _answers[cls]
    except KeyError:
        answer = _answers[cls] = _resolve(cls, _declared_answer(cls))
        return answer


def tag_of(message: Message | type[Message]) -> str:
    """The tag of a message or of its class."""
    cls = message if isinstance(message, type) else type(message)
    return cast("str", cls.__struct_config__.tag)


def encode_message(message: Message) -> bytes:
    """The message as msgpack, its tag included."""
    return msgspec.msgpack.encode(message)


def decode_message(data: bytes) -> Message:
    """The message that `encode_message` turned into `data`. Fields that its class here does not have are left out.

    Raises:
        CairnError: ``bus.unknown-message``; ``bus.malformed-message`` when `data` does not fit its class.
    """
    try:
        cls = message_type(msgspec.msgpack.decode(data, type=_Tagged).tag)
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.ValidationError:
            return msgspec.msgpack.decode(_without_unknown_fields(data, cls), type=cls)
    except msgspec.MsgspecError as error:
        raise CairnError(
            "bus.malformed-message",
            f"A message from another node does not fit: {error}. Do all nodes run the same version?",
            kind=ErrorKind.INTERNAL,
        ) from error


class _Tagged(Struct):
    tag: str = msgspec.field(name=TAG_FIELD)


def _without_unknown_fields(data: bytes, cls: type[Message]) -> bytes:
    """A node that is newer may have more fields. It sends them to older ones only while an upgrade is under way."""
    known = {TAG_FIELD, *cls.__struct_encode_fields__}
    fields = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    return msgspec.msgpack.encode({name: value for name, value in fields.items() if name in known})


def _check(cls: type[Message], tag: object) -> None:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise TypeError(
            f'{name}: its tag is {tag!r}; declare tag="<noun>.<verb>" in lower case with dashes, e.g. tag="vm.start"'
        )
    other = _types.get(tag)
    if other is not None and f"{other.__module__}.{other.__qualname__}" != name:
        raise TypeError(f"{name}: the tag {tag!r} belongs to {other.__module__}.{other.__qualname__}; choose another")
    if not issubclass(cls, Event):
        _declared_answer(cls)
    if cls.route is not None and cls.route not in cls.__struct_fields__:
        fields = ", ".join(cls.__struct_fields__) or "none"
        raise TypeError(f"{name}: route = {cls.route!r} names no field; its fields are: {fields}")
    cls.abstract = False
    _types[tag] = cls


def _declared_answer(cls: type[Message]) -> Any:
    """The type between the brackets of ``Command[…]``, followed through generic classes in between."""
    if issubclass(cls, Event):
        return None
    bound: dict[Any, Any] = {}
    for ancestor in cls.__mro__:
        for base in ancestor.__dict__.get("__orig_bases__", ()):
            origin, args = get_origin(base), get_args(base)
            args = tuple(bound.get(arg, arg) for arg in args)
            if origin in (Command, Query) and args and not isinstance(args[0], TypeVar):
                return args[0]
            if isinstance(origin, type) and hasattr(origin, "__parameters__"):
                bound.update(zip(origin.__parameters__, args, strict=False))
    raise TypeError(
        f"{cls.__module__}.{cls.__qualname__}: it has no answer type; declare Command[Answer], or Command[None] "
        "when there is nothing to answer"
    )


def _resolve(cls: type[Message], answer: Any) -> Any:
    if isinstance(answer, ForwardRef):
        answer = answer.__forward_arg__
    if isinstance(answer, str):
        scope = vars(sys.modules[cls.__module__])
        if answer not in scope:
            raise TypeError(f"{cls.__module__}.{cls.__qualname__}: its answer type {answer!r} is not in its module")
        answer = scope[answer]
    return None if answer is type(None) else answer
