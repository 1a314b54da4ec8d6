"""Which entries of the journal may be left to a later one, and how far a run may have come since its last entry.

An entry after each action would cost a commit each. What an entry is for: an undo must know what there is to undo, and with
what. Actions may be done twice, so after a crash a run may go on from an older entry. And an undo must bear that there is
nothing to undo, so it may be asked of each action that *may* have been begun. So an action needs an entry before it only if
its input has something that an action made since the last entry: without that, its undo could not be called. For example::

    cache-image (makes cached_image, nothing to undo), realize (makes bridges, nothing to undo)
    -- entry: the next takes cached_image --
    make-disk, serve-network, start-vm: none takes what one of the others makes, so no entry is between them

A crash in the last line, and then a cancellation: all three are undone, from the entry before them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cairn.kernel.flow.step import AnyStep, TransactionStep


def entry_can_wait(steps: Sequence[AnyStep], noted: int, position: int) -> bool:
    """Whether the entry of the step before `position` can be made together with a later one.

    Args:
        steps: all of the run's.
        noted: the position of the journal's last entry; there are only actions from there to `position`.
        position: of the step that comes next; behind the last one the run's end has to be written.
    """
    if position >= len(steps):
        return False
    step = steps[position]
    if isinstance(step, TransactionStep) or step.nothing_to_undo is not None:
        return True
    return all(_makes_none_of(made, step) for made in steps[noted:position])


def reached(steps: Sequence[AnyStep], noted: int) -> int:
    """How many steps may have been begun when the journal's last entry is at `noted`: actions only, transactions make entries."""
    position = noted
    while position < len(steps) and not isinstance(steps[position], TransactionStep):
        if position > noted and not entry_can_wait(steps, noted, position):
            break
        position += 1
    return position


def _makes_none_of(made: AnyStep, taker: AnyStep) -> bool:
    return not set(made.output.__struct_fields__).intersection(taker.input.__struct_fields__)
