"""Steps: the pieces that workflows are lists of.

A step does one thing and can take it back. There are two kinds:

`TransactionStep`
    A synchronous function of one transaction. The engine runs neighbouring transaction steps in one commit, together
    with the journal's entry, so such a step happened exactly if the journal says so.

`ActionStep`
    A coroutine that reaches something outside of the database (an agent, another service). It may be run twice (the
    process may die after it and before the journal's entry), so it says "ensure", never "create".

Both take a typed record made of the workflow's parameters and earlier steps' outputs, by field name, and give a typed
record. Their undo gets the same input and the output, or ``None`` for the output when the step did not finish; it
must work if there is nothing to undo, and may be run again.
"""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from msgspec import Struct

from cairn.kernel.store.store import Tx


class Nothing(Struct, frozen=True, kw_only=True):
    """The input or output of a step that needs or gives nothing."""


NOTHING = Nothing()

I = TypeVar("I", bound=Struct)  # noqa: E741 - input
O = TypeVar("O", bound=Struct)  # noqa: E741 - output


def _is_step(base: object) -> bool:
    origin = get_origin(base)
    return isinstance(origin, type) and issubclass(origin, Step)


def _check(cls: type[Step[Any, Any]]) -> None:
    """Refuse a step that lacks something; one that is still generic, or lacks its types, is a base of others."""
    if not hasattr(cls, "input"):
        return
    for attribute in ("name", "title"):
        if not isinstance(getattr(cls, attribute, None), str):
            raise TypeError(f"step {cls.__qualname__} has no `{attribute}`")
    overrides = "undo" in {key for base in cls.__mro__[:-1] if base not in _ROOTS for key in base.__dict__}
    if overrides == (cls.nothing_to_undo is not None):
        raise TypeError(
            f"step {cls.__qualname__} must either define `undo` or say in `nothing_to_undo` why it needs none"
        )


class Step(Generic[I, O]):
    """The part that all steps share. Subclass `TransactionStep` or `ActionStep` instead.

    A declaration that does not fit fails on import, with a sentence that names the class.
    """

    #: ``<noun>.<verb>-<object>``, unique; workflow files and journals name steps by it
    name: ClassVar[str]
    #: what people read while it runs: "starting the VM on its host"
    title: ClassVar[str]
    #: why there is nothing to take back; only for steps without `undo`
    nothing_to_undo: ClassVar[str | None] = None
    #: whether its undo waits until all steps behind it are undone, because their undos need what it wrote (a host's address)
    undone_last: ClassVar[bool] = False
    input: ClassVar[type[Struct]]
    output: ClassVar[type[Struct]]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        generic = [base for base in cls.__dict__.get("__orig_bases__", ()) if _is_step(base)]
        if not generic:
            _check(cls)
            return
        arguments = get_args(generic[0])
        if any(isinstance(argument, TypeVar) for argument in arguments):
            return
        cls.input, cls.output = arguments
        _check(cls)


class TransactionStep(Step[I, O], Generic[I, O]):
    """A step inside one transaction; exactly once."""

    #: `do` writes and locks nothing but rows of the resource that the workflow is about, so it need not wait for those that
    #: may meet others: see `own` of `Store.write`
    own_rows: ClassVar[bool] = False

    def do(self, tx: Tx, given: I) -> O:
        """Do the step's work. An error rolls this transaction back, so nothing of it stays."""
        raise NotImplementedError

    def undo(self, tx: Tx, given: I, made: O | None) -> None:
        """Take back what `do` wrote. Safe to repeat."""


class ActionStep(Step[I, O], Generic[I, O]):
    """A step outside of the database; at least once."""

    async def do(self, given: I) -> O:
        """Do the step's work, or see that it is done already."""
        raise NotImplementedError

    async def undo(self, given: I, made: O | None) -> None:
        """Take back what `do` did: all of it, half of it or nothing. Safe to repeat."""


_ROOTS = (Step, TransactionStep, ActionStep)

#: a step whose types are not known where it is handled
AnyStep = TransactionStep[Any, Any] | ActionStep[Any, Any]
