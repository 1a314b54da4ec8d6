"""Faults on demand: delays, errors, lost answers, duplicates, dead hosts; for all hosts and commands, or for some."""

from __future__ import annotations

import random
from typing import Annotated

from msgspec import Meta, Struct

from cairn.agents.protocol import codes

Rate = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]


class Dial(Struct, kw_only=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """The faults that certain hosts show at certain commands. A dial with nothing but `host` and `command` has none.

    The dial for a host and a command goes before the one for the host, that before the one for the command, that before
    the one for all. `dead` concerns the host as a whole, so only a dial without a command can say it.
    """

    host: str | None = None  #: ``sim-0001``; None: every host
    command: str | None = None  #: ``vm.start``; None: every command
    delay_seconds: Seconds = 0.0  #: before the work is done; longer than the request's `wait_seconds` means 202
    delay_max_seconds: Seconds | None = None  #: then the delay is random, from `delay_seconds` to this
    slow: bool = False  #: 202 at once, whatever the delay, and a call-back
    error_rate: Rate = 0.0  #: this part of the commands fails, nothing done
    error_next: Count = 0  #: so many of the next commands fail, nothing done
    error_code: str = codes.INTERNAL
    lost_rate: Rate = 0.0  #: of this part the work is done and the connection closed without an answer
    lost_next: Count = 0
    duplicate_rate: Rate = 0.0  #: this part of the answers, or call-backs, is sent twice
    duplicate_next: Count = 0
    dead: bool = False  #: connections are closed unanswered, nothing is done


_ORDINARY = Dial()


class Dials:
    """All dials that are turned.

    Args:
        seed: of the random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._dials: dict[tuple[str | None, str | None], Dial] = {}
        self._random = random.Random(seed)  # noqa: S311 - repeatable faults, no secrets
        self.turned = False  #: whether any dial is turned; asked for every request

    def turn(self, dial: Dial) -> None:
        """Put `dial` in the place of the one for the same host and command."""
        place = (dial.host, dial.command)
        if dial == Dial(host=dial.host, command=dial.command):
            self._dials.pop(place, None)
        else:
            self._dials[place] = dial
        self.turned = bool(self._dials)

    def clear(self) -> None:
        """Take all dials away, and start the random numbers again."""
        self._dials.clear()
        self._random.seed(self._seed)
        self.turned = False

    def all(self) -> list[Dial]:
        """List the dials that are turned, with what is left of their counts."""
        return list(self._dials.values())

    def dead(self, host: str) -> bool:
        """Tell whether the host shall seem dead."""
        if not self.turned:
            return False
        dial = self._dials.get((host, None)) or self._dials.get((None, None))
        return dial is not None and dial.dead

    def find(self, host: str, command: str) -> Dial:
        """Find the dial that holds for a command."""
        for place in ((host, command), (host, None), (None, command), (None, None)):
            dial = self._dials.get(place)
            if dial is not None:
                return dial
        return _ORDINARY

    def delay(self, dial: Dial) -> float:
        """Choose how many seconds the work takes this time."""
        if dial.delay_max_seconds is None:
            return dial.delay_seconds
        return self._random.uniform(dial.delay_seconds, max(dial.delay_max_seconds, dial.delay_seconds))

    def fails(self, dial: Dial) -> bool:
        """Choose whether the work fails this time."""
        if dial.error_next:
            dial.error_next -= 1
            return True
        return self._chance(dial.error_rate)

    def loses(self, dial: Dial) -> bool:
        """Choose whether the answer gets lost this time."""
        if dial.lost_next:
            dial.lost_next -= 1
            return True
        return self._chance(dial.lost_rate)

    def doubles(self, dial: Dial) -> bool:
        """Choose whether the answer is sent twice this time."""
        if dial.duplicate_next:
            dial.duplicate_next -= 1
            return True
        return self._chance(dial.duplicate_rate)

    def _chance(self, rate: float) -> bool:
        return rate > 0 and self._random.random() < rate
