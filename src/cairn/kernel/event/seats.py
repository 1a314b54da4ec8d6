"""How many streams of events may be open: in all, and for one account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cairn.kernel import limits
from cairn.kernel.config import Setting
from cairn.kernel.error import CairnError, ErrorKind


class Seats:
    """Counts open streams. Administrators are counted, and always find a place within what one account may have."""

    def __init__(self, setting: Callable[[Setting[int]], int]) -> None:
        self._setting = setting
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def take(self, account: str, *, is_admin: bool) -> Callable[[], None]:
        """Take a place. Returns what gives it back; safe to repeat.

        Raises:
            CairnError: ``event.too-many-streams``.
        """
        most = self._setting(limits.EVENT_STREAMS_OF_ACCOUNT)
        if self._taken[account] >= most:
            raise _too_many(
                f"This account has {most} streams of events open, as many as it may", limits.EVENT_STREAMS_OF_ACCOUNT
            )
        if len(self) >= self._setting(limits.EVENT_STREAMS) and not is_admin:
            raise _too_many("The cloud serves as many streams of events as it may", limits.EVENT_STREAMS)
        self._taken[account] += 1
        left = [account]

        def leave() -> None:
            while left:
                self._taken.subtract([left.pop()])
                if not self._taken[account]:
                    del self._taken[account]

        return leave


def _too_many(found: str, setting: Setting[int]) -> CairnError:
    return CairnError(
        "event.too-many-streams",
        f"{found}. Close one, or ask an administrator to raise the setting {setting.key}.",
        kind=ErrorKind.EXHAUSTED,
    )
