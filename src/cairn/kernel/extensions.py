"""The extension points that concern every kind of resource: vetoes on calls, and hooks on tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cairn.kernel.api import ApiCommand
    from cairn.kernel.store.store import Tx
    from cairn.kernel.tag import TagDefinition


class CallGuard(Protocol):
    """A rule on which calls may be made: before a start, a stop, a deletion, an update, a tag, of anything.

    It is asked twice: before the call is accepted, so that a refusal costs nothing, and again when the call's turn in its
    resource's queue has come, just before anything is done, since much may have happened in between. What a deletion takes along
    (`cairn.kernel.cascade`) is asked for as well, as the call that removes it. A call that goes on after a crash is not asked
    for again.
    """

    #: the calls that it is asked for; a base class, as `ApiDelete`, stands for all below it
    calls: Sequence[type[ApiCommand[Any]]]

    def veto(self, tx: Tx, call: ApiCommand[Any], account: str | None) -> None:
        """Refuse the call by raising a `CairnError`; anything else that is raised refuses it as well, as a bug of the plugin.

        It only reads, and is quick: nobody else is served meanwhile. It may be asked any number of times.

        Args:
            call: whole, its ``system_tags`` included if it makes something.
            account: who asks; None: nobody has logged in, or the cloud itself does it.
        """


class TagHook(Protocol):
    """A listener to the system tags of one definition, inside the transaction that changes them; may refuse by raising.

    It is not told when a resource goes with all its tags: subscribe to an event, or have a reference to it in a table.
    """

    #: of these tags
    tag: TagDefinition

    def tag_set(self, tx: Tx, resource: str, values: Mapping[str, str], before: Mapping[str, str] | None) -> None:
        """A tag is set on the resource `resource`.

        Args:
            values: of the pattern's names.
            before: what the same tag said before it was changed; None: it is new.
        """

    def tag_removed(self, tx: Tx, resource: str, values: Mapping[str, str]) -> None:
        """A tag is taken off the resource `resource`."""
