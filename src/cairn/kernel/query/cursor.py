"""Where a page ends, as a text that the caller hands back for the next one.

It holds the last row's place in the order, sealed: it says nothing to its reader (a row's number tells how many rows there ever
were), and nobody makes one.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec
from msgspec import Struct

from cairn.kernel.error import CairnError
from cairn.kernel.query.plan import Mark
from cairn.kernel.store.seal import Seals

LONGEST: Final = 4_096  #: characters
_COLUMN: Final = "query.after"
#: bytes of a multiple of which each is, so that its length tells nothing of how large a number is in it
_ROUND: Final = 64


class _Place(Struct, frozen=True, array_like=True):
    """A mark, and the order that it is in."""

    entity: str
    sort: str
    value: str | int | float | None
    tie: str | int | float | None


def sealed(seals: Seals, entity: str, sort: str, mark: Mark) -> str:
    """The text for a mark in the order `sort` of an entity."""
    place = msgspec.json.encode((entity, sort, mark.value, mark.tie))
    padded = place.ljust(-(-len(place) // _ROUND) * _ROUND)
    return base64.urlsafe_b64encode(seals.seal(padded, _COLUMN)).decode("ascii").rstrip("=")


def opened(seals: Seals, entity: str, sort: str, text: str) -> Mark:
    """The mark in a text of `sealed`.

    Raises:
        CairnError: ``query.bad-after``: it is none, or one of another entity or order.
    """
    if len(text) > LONGEST:
        raise _bad(f"found {len(text)} characters")
    try:
        envelope = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        place = msgspec.json.decode(seals.open(envelope, _COLUMN), type=_Place)
    except (binascii.Error, ValueError, CairnError):
        raise _bad("it is not what a page came with") from None
    if (place.entity, place.sort) != (entity, sort):
        found = f"{place.entity} sorted by {place.sort}" if place.sort else place.entity
        raise _bad(f"it is of another query, {found}")
    return Mark(place.value, place.tie)


def _bad(what: str) -> CairnError:
    fits = "the `next` of the page before would fit, with the same conditions and the same sort"
    return CairnError("query.bad-after", f"after: {what}; {fits}.", fields={"after": f"{what}; {fits}"})
