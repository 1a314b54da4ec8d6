"""The variables of the role `agent`, which puts an agent on a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cairn.kernel.deploy.authority import Credentials
from cairn.kernel.deploy.inventory import Variable
from cairn.kernel.deploy.wheels import WheelSet, archive


def agent_variables(
    credentials: Credentials, wheels: WheelSet, cache: Path, settings: Mapping[str, Variable] | None = None
) -> dict[str, Variable]:
    """The variables of one machine for a playbook that uses the role `agent`. Holds the agent's key.

    Reads and writes files (some MB): call it in a thread.

    Args:
        credentials: the agent's, from `Authority.issue_agent` with the address that the node will connect to.
        wheels: those to be installed.
        cache: a folder for the archive that is sent; the same for all machines.
        settings: more fields of the agent's configuration file, over the role's own.
    """
    return {
        "agent_certificate": credentials.certificate,
        "agent_key": credentials.key,
        "agent_authority": credentials.authority,
        "agent_wheels_archive": str(archive(wheels, cache).absolute()),
        "agent_wheels_checksum": wheels.checksum,
        "agent_settings": settings or {},
    }
