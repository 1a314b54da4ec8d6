"""Cuts what is told to an agent into requests that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

from cairn.agents.protocol.wire import MAX_REQUEST_BYTES

T = TypeVar("T")

#: The bytes of the items of a request; the rest is for the request around them.
PAGE_BYTES: Final = MAX_REQUEST_BYTES * 3 // 4


def pages(items: Iterable[T], size: Callable[[T], int], most: int = PAGE_BYTES) -> Iterator[list[T]]:
    """The items in their order, in lists whose sizes sum up to `most` at most; an item that is larger stands alone.

    Args:
        size: of an item, in bytes.
        most: bytes.
    """
    page: list[T] = []
    used = 0
    for item in items:
        needed = size(item)
        if page and used + needed > most:
            yield page
            page, used = [], 0
        page.append(item)
        used += needed
    if page:
        yield page
