from __future__ import annotations

import pytest
from tests.unit.services.image_site import Site

from cairn.agents.protocol.machine import machine_identity
from cairn.kernel.error import CairnError
from cairn.kernel.machine.identity import check_identity
from cairn.kernel.machine.machines import Machines
from cairn.services.backup_storage.messages import ReconnectBackupStorage


async def check(site: Site, uuid: str, found: str | None, *, accept: bool = False) -> str | None:
    """The code of the refusal; None: it is taken."""
    kind = site.context.need(Machines).of(ReconnectBackupStorage(uuid=uuid)).kind
    try:
        await site.context.store.read(lambda tx: check_identity(tx, kind, uuid, found, accept=accept))
    except CairnError as error:
        assert "Nothing was changed on it" in error.message
        return error.code
    return None


async def test_a_machine_is_taken_for_what_it_was_and_no_other_without_a_word(site: Site) -> None:
    storage = await site.add_storage()
    known, other = machine_identity("backup", ""), machine_identity("other", "")

    assert (await site.storage(storage)).machine_identity == known
    assert await check(site, storage, known) is None
    assert await check(site, storage, None) is None, "one that cannot tell has to be believed"
    assert await check(site, storage, other) == "backup-storage.machine-changed"
    assert await check(site, storage, other, accept=True) is None


@pytest.mark.parametrize("accept", [False, True])
async def test_the_machine_of_another_row_is_refused_whoever_accepts_it(site: Site, *, accept: bool) -> None:
    first, second = await site.add_storage("first"), await site.add_storage("second", host="sim-0001")
    found = (await site.storage(first)).machine_identity

    assert await check(site, second, found, accept=accept) == "backup-storage.machine-taken"
