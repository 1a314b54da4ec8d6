"""The VMs that measurements create: an image, a network and an offering that are there."""

from __future__ import annotations

import secrets

from cairn.cli.bench.creation import Template
from cairn.cli.context import Context
from cairn.cli.errors import refused
from cairn.cli.up.api import Api, uuid_of
from cairn.cli.up.fixtures import REAL, SIMULATED, Naming, offering


def template_of(context: Context, api: Api, image: str | None = None, network: str | None = None) -> Template:
    """The fields that all VMs of a run have in common; image and network are names or uuids, or what `cairn up` made."""
    naming = _naming(api)
    return Template(
        image=context.names.uuid("Image", image or naming.image),
        network=context.names.uuid("L3Network", network or naming.network),
        offering=offering(api, naming),
        prefix=f"bench-{secrets.token_hex(3)}",
    )


def _naming(api: Api) -> Naming:
    """The simulated cloud where there is one: it has room."""
    for naming in (SIMULATED, REAL):
        if any(uuid_of(zone) for zone in api.find("Zone", f"name={naming.zone}")):
            return naming
    raise refused(
        "There is no cloud to create VMs in. Make one: cairn up --simulated --hosts 100; or name a simulator: "
        "cairn bench vm --simulator-url URL --hosts 100",
        code="bench.no-cloud",
    )
