"""Asks the plugins' `CallGuard` objects about calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from cairn.kernel.api import ApiCommand
from cairn.kernel.error import CairnError, internal
from cairn.kernel.extensions import CallGuard
from cairn.kernel.store.store import Tx

_log = structlog.get_logger("cairn.guard")


class Guards:
    """The guards of a node. Which of them a call concerns is found out once for each class of calls."""

    def __init__(self, guards: Callable[[], Sequence[CallGuard]] = lambda: ()) -> None:
        self._guards = guards
        self._by_call: dict[type, tuple[CallGuard, ...]] = {}

    def question(self, call: ApiCommand[Any], account: str | None) -> Callable[[Tx], None] | None:
        """What has to be asked in a transaction before `call`; None: nothing, as no guard concerns it."""
        concerned = self._by_call.get(type(call))
        if concerned is None:
            concerned = tuple(guard for guard in self._guards() if isinstance(call, tuple(guard.calls)))
            self._by_call[type(call)] = concerned
        return partial(_ask, concerned, call, account) if concerned else None


def _ask(guards: Sequence[CallGuard], call: ApiCommand[Any], account: str | None, tx: Tx) -> None:
    for guard in guards:
        try:
            guard.veto(tx, call, account)
        except CairnError:
            raise
        except Exception as error:
            _log.exception("guard.failed", guard=type(guard).__qualname__, api=type(call).__name__)
            raise internal(f"{type(call).__name__}, asking {type(guard).__qualname__}", error) from error
