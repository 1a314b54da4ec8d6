"""A whole cloud in a test: its clock, its store, its logins."""

from __future__ import annotations

import threading

import msgspec
import pytest

from cairn.services.identity.passwords import Passwords
from cairn.testing.cloud import Cloud, Refused


async def test_login_takes_no_time_of_the_cloud_however_slow_its_thread_is(monkeypatch: pytest.MonkeyPatch) -> None:
    verify = Passwords._verify

    def slow(self: Passwords, kept: str | None, password: str) -> bool:
        threading.Event().wait(0.1)
        return verify(self, kept, password)

    monkeypatch.setattr(Passwords, "_verify", slow)
    async with Cloud.open() as cloud:
        before = cloud.clock.monotonic()
        await cloud.log_in()
        assert cloud.clock.monotonic() == before


async def test_login_with_a_wrong_password_is_refused_and_the_former_session_stays() -> None:
    async with Cloud.open() as cloud:
        await cloud.log_in()
        with pytest.raises(Refused) as refused:
            await cloud.log_in(password="wrong")
        assert (refused.value.status, refused.value.code) == (401, "auth.wrong-password")
        assert await cloud.query("Zone") == []


async def test_cloud_killed_and_revived_has_what_was_written() -> None:
    async with Cloud.open() as cloud:
        zone = await cloud.call("CreateZone", name="kept")
        await cloud.revive()
        assert [row["uuid"] for row in await cloud.query("Zone")] == [zone["uuid"]]


async def test_saved_cloud_goes_on_where_it_was_saved() -> None:
    async with Cloud.open(hosts=1) as cloud:
        site = dict(await cloud.make_site())
        await cloud.quiet(1)
        saved = cloud.save()
    async with Cloud.open(saved=msgspec.structs.replace(saved)) as again:
        vm = await again.create_vm("web")
    assert (vm["state"], again.site) == ("Running", site)
