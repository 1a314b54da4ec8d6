"""Finds the uuids of resources that people know by name."""

from __future__ import annotations

import re

from cairn.cli.client import Client, Json
from cairn.cli.errors import usage
from cairn.cli.schema import nearest

_UUID = re.compile(r"[0-9a-f]{32}")
_SHOWN = 10


class Names:
    """Looks names up at a node. `Resolver` of `cairn.cli.values`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __call__(self, entity: str, name: str) -> str:
        """The uuid of the only `entity` of that name (usage error with the candidates otherwise)."""
        found = self._client.query(entity, [f"name={name}"], options=[("limit", str(_SHOWN + 1))]).inventories
        live = [one for one in found if one.get("state") != "Destroyed"] or found
        if len(live) == 1:
            return str(live[0]["uuid"])
        if live:
            candidates = "; ".join(_told(one) for one in live[:_SHOWN])
            raise usage(
                f"{len(live)} {entity}s are named {name!r}; give the uuid of one: {candidates}.", code="cli.ambiguous"
            )
        page = self._client.query(entity, options=[("limit", "200"), ("fields", "name"), ("sort", "+name")])
        known = [str(one.get("name")) for one in page.inventories]
        hint = nearest(name, known) or (f" There are: {', '.join(known[:_SHOWN])}." if known else " There is none yet.")
        raise usage(f"There is no {entity} named {name!r}.{hint}", code="cli.no-such-name")

    def uuid(self, entity: str, text: str) -> str:
        """`text` if it is a uuid, else the uuid of the `entity` of that name."""
        return text if _UUID.fullmatch(text) else self(entity, text)


def _told(inventory: Json) -> str:
    state = inventory.get("state") or inventory.get("status")
    return f"{inventory['uuid']}" + (f" ({state})" if state else "")
