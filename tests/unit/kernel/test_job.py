from __future__ import annotations

from typing import Annotated, ClassVar, cast

import msgspec
import pytest
from msgspec.structs import replace

from cairn.kernel.api import ApiCommand, ApiUpdate, Reference, Secret, action
from cairn.kernel.bus.message import tag_of
from cairn.kernel.ids import JobId
from cairn.kernel.job import Job, JobState, decode, digest_of, is_open, read, turn_of
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock

UUID = "a" * 32


class Paint(ApiCommand[Reference], frozen=True, kw_only=True, tag="test-job-wall.paint"):
    """Paints a wall."""

    http: ClassVar = action("/walls/{uuid}/actions", "paint")
    route: ClassVar[str | None] = "uuid"
    uuid: str
    password: Annotated[str, Secret()] = ""


class Rename(ApiUpdate, frozen=True, kw_only=True, tag="test-job-wall.rename"):
    """Renames a wall."""

    http: ClassVar = action("/walls/{uuid}/actions", "rename")


def paint(uuid: str = UUID, password: str = "") -> ApiCommand[object]:
    return cast("ApiCommand[object]", Paint(uuid=uuid, password=password))


def row_of(message: ApiCommand[object]) -> Job:
    return Job(
        uuid=UUID,
        api="Paint",
        tag=tag_of(message),
        request=msgspec.json.encode(message),
        digest=digest_of(message, None),
        create_date=VirtualClock().now(),
    )


def test_call_is_read_back_from_its_row() -> None:
    row = row_of(paint())

    assert decode(row) == paint()
    assert read(row) == (paint(), None)


@pytest.mark.parametrize("change", [{"tag": "no-plugin.here"}, {"request": b'{"colour":"red"}'}])
def test_call_that_cannot_be_read_says_why_to_operators_only(change: dict[str, object]) -> None:
    message, error = read(replace(row_of(paint()), **change))

    assert message is None
    assert error is not None
    assert error.code == "job.unreadable"
    assert error.operator
    assert error.operator not in error.message


def test_same_call_has_the_same_digest_whatever_its_secret_is() -> None:
    assert digest_of(paint(password="one"), "alice") == digest_of(paint(password="two"), "alice")
    assert digest_of(paint(), "alice") != digest_of(paint(), "bob")
    assert digest_of(paint(), "alice") != digest_of(paint("b" * 32), "alice")


def test_call_takes_its_turn_in_the_queue_of_the_resource_that_it_names_unless_it_says_otherwise() -> None:
    assert turn_of(paint()) == f"test-job-wall:{UUID}"
    assert turn_of(cast("ApiCommand[object]", Rename(uuid=UUID))) is None


async def test_job_is_open_until_it_has_ended() -> None:
    store = await Store.memory(Schema([Job]), VirtualClock(), inline=True)
    job = JobId(UUID)
    seen = [await store.read(lambda tx: is_open(tx, job))]
    await store.write(lambda tx: tx.insert(row_of(paint())))
    seen.append(await store.read(lambda tx: is_open(tx, job)))
    await store.write(lambda tx: tx.update(Job, job, state=JobState.FAILED))
    seen.append(await store.read(lambda tx: is_open(tx, job)))
    await store.close()

    assert seen == [False, True, False]
