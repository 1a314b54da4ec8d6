"""Slots: which of the accepted calls runs next, and how many may be accepted.

``api.parallelism`` jobs run at a time. They are three pools (`cairn.kernel.turns`):

* *freeing*, a reserve for calls that give something back or end something (`ApiCommand.frees`): whoever has used up
  everything can still delete, stop and disable;
* *administrators*, a reserve of the same size for their calls;
* *ordinary*, all the rest, for any call. Of it, and of the freeing reserve, an account may have a share; administrators may
  have all that is ordinary.

A call that is slow by its kind names a limit of its own (`ApiCommand.limit`). A job that has begun, in an earlier run of
the node or in an earlier try, is not held up by any limit: it holds turns in resource queues, and others wait for it.

Calls of one account about one resource begin in the order in which they were accepted, even if a later one could have had a
place of a reserve.

The backlog, all jobs that are open, is bounded in all and for each account. A call beyond it is refused before anything is
written. There is a reserve too: calls that free something, and administrators, go a tenth further.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from cairn.kernel import limits
from cairn.kernel.api import Access, ApiCommand
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.limits import CallLimit
from cairn.kernel.turns import Kind, Pool, Turn, Turns

BACKLOG_FULL = "job.backlog-full"
#: how much further those go for whom a reserve is kept
_EXTRA_PERCENT = 10


class Accepted(Protocol):
    """A call that was accepted."""

    @property
    def message(self) -> ApiCommand[object] | None:
        """The call; None if it cannot be read any more."""

    @property
    def api(self) -> str:
        """Its name."""

    @property
    def actor(self) -> str | None:
        """The uuid of the account that made it."""

    @property
    def admin(self) -> bool:
        """Whether that is an administrator's."""


E = TypeVar("E", bound=Accepted)


class _Sizes(Struct, frozen=True, kw_only=True):
    """How the places are divided among the pools, and among accounts."""

    reserve: int
    ordinary: int
    ordinary_share: int
    freeing_share: int


class Slots(Generic[E]):
    """The accepted calls of one node: those that wait, and those that run.

    Args:
        parallelism: how many run at a time; it and the settings are read again when `changed` says so.
        setting: the value of a setting, now.
    """

    def __init__(self, parallelism: Callable[[], int], setting: Callable[[Setting[int]], int]) -> None:
        self._parallelism = parallelism
        self._setting = setting
        self._kept_sizes: _Sizes | None = None
        self._ordinary = Pool("ordinary", lambda: self._sizes.ordinary, self._ordinary_share)
        self._freeing = Pool("freeing", lambda: self._sizes.reserve, lambda privileged: self._sizes.freeing_share)
        self._administrators = Pool(
            "administrators", lambda: self._sizes.reserve, lambda privileged: self._sizes.reserve
        )
        self._turns: Turns[E] = Turns([self._ordinary, self._freeing, self._administrators])
        self._kinds: dict[CallLimit, Kind] = {}
        self._open: Counter[str | None] = Counter()
        self._open_in_all = 0
        self._waiting: Counter[str] = Counter()

    # -- the backlog ----------------------------------------------------------------------------------------------

    def check(self, message: ApiCommand[object], actor: str | None, *, admin: bool) -> None:
        """Refuse a call when too many are open.

        Raises:
            CairnError: ``job.backlog-full``.
        """
        favoured = admin or message.frees()
        count, most = self._open[actor], self._most(limits.BACKLOG_ACCOUNT, favoured=favoured)
        if not admin and count >= most:
            raise CairnError(
                "job.backlog-full",
                f"{count} jobs of this account are open, and at most {most} may be. Wait until some have ended, or cancel "
                "some, and repeat the call.",
                kind=ErrorKind.EXHAUSTED,
            )
        count, most = self._open_in_all, self._most(limits.BACKLOG, favoured=favoured)
        if count >= most:
            raise CairnError(
                "job.backlog-full",
                "The cloud has more open jobs than it takes. Repeat the call later.",
                kind=ErrorKind.EXHAUSTED,
                operator=f"{count} jobs are open, and at most {most} may be (setting {limits.BACKLOG.key}).",
            )

    @contextmanager
    def entering(self, actor: str | None) -> Iterator[None]:
        """Count a call of which it is not known yet whether it becomes a job."""
        self.opened(actor)
        try:
            yield
        finally:
            self.ended(actor)

    def opened(self, actor: str | None) -> None:
        """Count a job that is open now."""
        self._open[actor] += 1
        self._open_in_all += 1

    def ended(self, actor: str | None) -> None:
        """Count a job that is not open any more."""
        self._open[actor] -= 1
        self._open_in_all -= 1
        if not self._open[actor]:
            del self._open[actor]

    # -- places ---------------------------------------------------------------------------------------------------

    def wait(self, call: E) -> Turn[E]:
        """Let a call wait for its turn. Then `take` until it gives nothing more."""
        turn = self._turn(call)
        self._waiting[call.api] += 1
        self._turns.add(turn)
        return turn

    def hold(self, call: E) -> Turn[E]:
        """Give a place at once to a job that has begun already, whatever the limits are."""
        turn = self._turn(call)
        self._turns.hold(turn)
        return turn

    def take(self) -> E | None:
        """Give a free place to the call that is next; None when none may have one."""
        turn = self._turns.take()
        if turn is None:
            return None
        self._waits_no_more(turn.what)
        return turn.what

    def waits(self, turn: Turn[E]) -> bool:
        """Whether it waits."""
        return turn in self._turns.waiting

    def leave(self, turn: Turn[E]) -> None:
        """Take a call out, whether it waits or runs. Then `take` until it gives nothing more."""
        if self.waits(turn):
            self._waits_no_more(turn.what)
        self._turns.leave(turn)

    def changed(self) -> None:
        """Look again at all settings. Then `take` until it gives nothing more."""
        self._kept_sizes = None
        self._turns.changed()

    # -- looking --------------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._turns.waiting)

    @property
    def waiting_by_api(self) -> Mapping[str, int]:
        """How many wait, by the API's name."""
        return self._waiting

    @property
    def oldest(self) -> E | None:
        """The one of those that wait that came first."""
        turn = next(iter(self._turns.waiting), None)
        return None if turn is None else turn.what

    # -- inside ---------------------------------------------------------------------------------------------------

    def _turn(self, call: E) -> Turn[E]:
        message = call.message
        if message is None:
            return Turn(call, call.actor, (self._ordinary,))
        # After a crash it is not known who was an administrator; some calls only they can make.
        admin = call.admin or message.access is Access.ADMIN
        pools: tuple[Pool, ...] = (self._ordinary,)
        pools += (self._freeing,) if message.frees() else ()
        pools += (self._administrators,) if admin else ()
        kind = None if message.limit is None else self._kind(message.limit)
        return Turn(call, call.actor, pools, kind=kind, privileged=admin, line=_line(message, call.actor))

    def _kind(self, limit: CallLimit) -> Kind:
        kind = self._kinds.get(limit)
        if kind is None:
            setting = self._setting
            kind = self._kinds[limit] = Kind(
                limit.in_all.key, lambda: setting(limit.in_all), lambda: setting(limit.of_account)
            )
        return kind

    def _waits_no_more(self, call: E) -> None:
        self._waiting[call.api] -= 1
        if not self._waiting[call.api]:
            del self._waiting[call.api]

    def _most(self, setting: Setting[int], *, favoured: bool) -> int:
        most = self._setting(setting)
        return most + max(1, most * _EXTRA_PERCENT // 100) if favoured else most

    @property
    def _sizes(self) -> _Sizes:
        """How the places are divided. Kept until `changed`, since each job asks a dozen times."""
        if self._kept_sizes is None:
            places, part = max(1, self._parallelism()), self._setting(limits.API_SHARE)
            reserve = places * self._setting(limits.API_RESERVE) // 100  # of a handful of places nothing is kept
            ordinary = places - 2 * reserve
            self._kept_sizes = _Sizes(
                reserve=reserve,
                ordinary=ordinary,
                ordinary_share=max(1, ordinary * part // 100),
                freeing_share=max(1, reserve * part // 100),
            )
        return self._kept_sizes

    def _ordinary_share(self, privileged: bool) -> int:
        return self._sizes.ordinary if privileged else self._sizes.ordinary_share


def _line(message: ApiCommand[object], actor: str | None) -> tuple[str | None, str] | None:
    """The line in which the account's calls about the same resource begin."""
    resource = None if message.route is None else getattr(message, message.route)
    return None if resource is None else (actor, resource)
