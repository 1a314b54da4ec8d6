"""The origin of a call: job, task stack, deadline, caller, run. It follows the work everywhere, to other nodes too."""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType

from msgspec import Struct

from cairn.agents.protocol.fence import Fence
from cairn.kernel.ids import JobId


class Origin(Struct, frozen=True, gc=False):
    """Where a call came from, as long as the node that took it lives: nothing of it is kept."""

    #: the address that it came from
    address: str | None = None
    #: the session that it was made with
    session: str | None = None

    def __repr__(self) -> str:
        return f"Origin(address={self.address!r})"  # who knows the session can act with it


class CallContext(Struct, frozen=True, gc=False):
    """The origin of a piece of work."""

    job: JobId | None = None
    #: names of the tasks that led here, outermost first
    stack: tuple[str, ...] = ()
    #: the instant by the clock's monotonic(), in seconds, at which the work is cancelled. None: no limit known
    deadline: float | None = None
    #: uuid of the account that asked
    actor: str | None = None
    #: where it asked from. None: it is not known, or not any more
    origin: Origin | None = None
    #: uuid of the workflow run that this is a part of; what it starts are its inner runs. The bus only hands it on
    parent: str | None = None
    #: in whose turn it is done, and since which epoch: goes along with commands to agents. The bus only hands it on
    fence: Fence | None = None

    def child(self, task_name: str, deadline: float | None = None) -> CallContext:
        """The context of a task inside this one. Deadlines only shrink: the nearer one holds."""
        if deadline is None or (self.deadline is not None and self.deadline < deadline):
            deadline = self.deadline
        return CallContext(
            self.job, (*self.stack, task_name), deadline, self.actor, self.origin, self.parent, self.fence
        )

    def fenced(self, fence: Fence | None) -> CallContext:
        """The same context, for work that is done in that turn."""
        return CallContext(self.job, self.stack, self.deadline, self.actor, self.origin, self.parent, fence)


NOWHERE = CallContext()
CONTEXT: ContextVar[CallContext] = ContextVar("cairn-call", default=NOWHERE)


def current() -> CallContext:
    """The context of the work that is running; an empty one outside of any."""
    return CONTEXT.get()


def child(task_name: str, deadline: float | None = None) -> CallContext:
    """The context of a task inside the one that is running."""
    return CONTEXT.get().child(task_name, deadline)


class entered:  # noqa: N801 - reads as a word: `with entered(context)`
    """Runs the block in `context`. Use each object once."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._token: Token[CallContext] | None = None

    def __enter__(self) -> CallContext:
        self._token = CONTEXT.set(self._context)
        return self._context

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            CONTEXT.reset(self._token)
