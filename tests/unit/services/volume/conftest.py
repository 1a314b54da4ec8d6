from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from cairn.testing.cloud import Cloud


@pytest.fixture
async def cloud() -> AsyncIterator[Cloud]:
    """One host, and the VM ``web`` running on it."""
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        cloud.site["vm"] = str((await cloud.create_vm("web"))["uuid"])
        yield cloud
