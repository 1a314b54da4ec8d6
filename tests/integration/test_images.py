"""Images as accounts add them: what is refused, and what is kept of a URL."""

from __future__ import annotations

import io

import msgspec
import pytest
import structlog

from cairn.kernel import log
from cairn.kernel.job import Job
from cairn.simulator.dials import Dial
from cairn.testing.cloud import Cloud, Refused

SECRET_URL = "http://bob:hunter2@images/missing.qcow2?token=tok3n"


async def add_image(cloud: Cloud, url: str) -> None:
    await cloud.call("AddImage", name="mine", url=url, format="qcow2", backup_storage_uuids=[cloud.site["backup"]])


async def test_files_of_a_backup_storage_are_only_for_administrators() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        await add_image(cloud, "file:///srv/images/x.qcow2")
        await cloud.call("CreateAccount", name="mallory", password="pw-of-mallory")
        await cloud.log_in("mallory", "pw-of-mallory")
        before = cloud.read_now(lambda tx: tx.count(Job))

        with pytest.raises(Refused) as caught:
            await add_image(cloud, "file:///srv/images/x.qcow2")

        assert (caught.value.status, caught.value.code) == (403, "image.file-url")
        assert cloud.read_now(lambda tx: tx.count(Job)) == before


async def test_no_secret_of_a_url_is_in_an_answer_or_a_job() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        for url in (SECRET_URL, "http://bob:hunter2@images:99999/x?token=tok3n"):
            with pytest.raises(Refused) as caught:
                await add_image(cloud, url)
            assert not any(secret in str(caught.value.problem) for secret in ("hunter2", "tok3n"))
        errors = cloud.read_now(lambda tx: [msgspec.json.encode(job.error) for job in tx.find(Job, api="AddImage")])

        assert not any(secret in error for error in errors for secret in (b"hunter2", b"tok3n"))
        await add_image(cloud, SECRET_URL.replace("missing", "good"))
        images = await cloud.query("Image", "name=mine")
        assert images[0]["url"] == "http://images/good.qcow2?token=…"


async def test_no_secret_of_a_url_lies_in_the_database_or_in_the_log() -> None:
    lines = io.StringIO()
    log.configure(stream=lines, level="debug", form="json")
    try:
        async with Cloud.open(hosts=1) as cloud:
            await cloud.make_site()
            for dial in (Dial(host="backup", error_rate=1.0), Dial(host="backup", dead=True)):
                cloud.agents.dials.turn(dial)
                with pytest.raises(Refused):
                    await add_image(cloud, SECRET_URL)
                cloud.agents.dials.clear()
                await cloud.quiet(70)
            await add_image(cloud, SECRET_URL.replace("missing", "good"))
            kept = cloud.store.content()
    finally:
        structlog.reset_defaults()

    assert "workflow.failed" in lines.getvalue()
    for secret in ("hunter2", "tok3n"):
        assert secret not in lines.getvalue()
        assert secret.encode() not in kept
