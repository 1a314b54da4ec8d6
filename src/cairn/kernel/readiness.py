"""Whether a node takes calls, and what is wrong with it: the answer of ``/readyz``, for load balancers and ``cairn status``.

It is answered to everybody, so it names parts of the node, and nothing of the cloud, its machines or its files.
"""

from __future__ import annotations

from msgspec import Struct


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether a node takes calls."""

    reasons: list[str] = []  #: why it does not; empty: it does
    #: background loops whose work should have been done long ago, a broker that is away; calls are taken all the same
    behind: list[str] = []

    @property
    def ready(self) -> bool:
        """Whether it takes calls."""
        return not self.reasons
