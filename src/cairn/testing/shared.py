"""What the nodes of a cloud share, for tests of those who use it: an authority, in a small database in a folder.

Each call opens that database anew, as another node would: what one `Authority` of a folder does, the others have to find out.
"""

from __future__ import annotations

from pathlib import Path

from cairn.kernel.clock import Clock, SystemClock
from cairn.kernel.cloud import Cloud
from cairn.kernel.deploy.authority import Authority
from cairn.kernel.deploy.model import (
    AgentPair,
    KnownHost,
    RevokedCertificate,
    RootProgress,
    SharedAuthority,
    SshKeyPair,
)
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.cloud import SEALS

_RECORDS = (Cloud, SharedAuthority, AgentPair, RevokedCertificate, KnownHost, SshKeyPair, RootProgress)


async def shared_store(folder: Path, clock: Clock | None = None) -> Store:
    """A database in `folder`, which is made when missing, with the tables of what nodes share; transactions run at once."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 (a test)
    return await Store.open(
        folder / "shared.db", Schema(_RECORDS), clock or SystemClock(), inline=True, create_tables=True, seals=SEALS
    )


async def authority_in(folder: Path, *, node: str = "local", clock: Clock | None = None) -> Authority:
    """The authority of the database in `folder`, as the node has it whose folder that is."""
    return await Authority.open(await shared_store(folder, clock), folder, node=node, clock=clock)


async def forget_agent(authority: Authority, uuid: str) -> None:
    """Have an authority of `authority_in` forget an agent, in a transaction that does nothing else."""
    store = await shared_store(authority.certificate_path.parent)
    await store.write(lambda tx: authority.forget_agent(tx, uuid))
    await store.close()
