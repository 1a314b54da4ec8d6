"""The cloud as the steps of ``cairn up`` use it, so that tests can play it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import msgspec

from cairn.cli.client import Client, Job, Json, Watcher
from cairn.cli.requests import build


class Api(Protocol):
    """Finds resources, and makes them."""

    def find(self, entity: str, *conditions: str) -> list[Json]:
        """The resources that fit all conditions."""

    def start(self, api: str, values: Json) -> Job:
        """Make a call that becomes a job, without waiting."""

    def finish(self, job: Job) -> Json:
        """Wait for the job; the inventory in its result, or the result itself.

        Raises:
            CliError: exit code 1 with the job's error.
        """

    def ask(self, api: str, values: Json) -> Json:
        """Make a call that is answered at once."""


class ClientApi:
    """`Api` over HTTP. `watcher` is told how each job gets on."""

    def __init__(self, client: Client, watcher: Watcher | None = None) -> None:
        self._client = client
        self._watcher = watcher

    def find(self, entity: str, *conditions: str) -> list[Json]:
        """The resources that fit all conditions."""
        return list(self._client.all(entity, conditions))

    def start(self, api: str, values: Json) -> Job:
        """Make a call that becomes a job, without waiting."""
        return self._client.submit(build(self._client.api(api), values))

    def finish(self, job: Job) -> Json:
        """Wait for the job; the inventory in its result, or the result itself."""
        result = self._client.finish(job, self._watcher)
        inventory = result.get("inventory")
        return cast("Json", inventory) if isinstance(inventory, dict) else result

    def ask(self, api: str, values: Json) -> Json:
        """Make a call that is answered at once."""
        response = self._client.call(build(self._client.api(api), values))
        return msgspec.json.decode(response.body or b"{}", type=dict[str, object])


def run(api: Api, name: str, values: Json) -> Json:
    """Make a call and wait for its job."""
    return api.finish(api.start(name, values))


def ensure(api: Api, entity: str, call: str, name: str, values: Json, *conditions: str) -> Json:
    """The `entity` of that name, made by `call` if there is none."""
    found = api.find(entity, f"name={name}", *conditions)
    return found[0] if found else run(api, call, {"name": name, **values})


def uuid_of(inventory: Json) -> str:
    """The uuid of an inventory."""
    return str(inventory["uuid"])


def uuids_in(inventory: Json, field: str) -> Sequence[str]:
    """A list of uuids in an inventory."""
    value = inventory.get(field)
    return [str(one) for one in value] if isinstance(value, list) else []
