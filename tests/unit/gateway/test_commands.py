from __future__ import annotations

import pytest
from tests.unit.gateway.world import (
    ALICE,
    AS_ADMIN,
    AS_ALICE,
    AS_BOB,
    BOB,
    MISSING,
    World,
)

from cairn.gateway.commands import resource_of
from cairn.kernel.bus.context import current
from cairn.kernel.error import CairnError, ErrorKind
from cairn.kernel.ids import JobId, is_uuid
from cairn.testing.clock import VirtualClock

JOB = "0123456789abcdef0123456789abcdef"


async def test_create_is_accepted_as_job_and_ends_with_the_inventory(cloud: World, clock: VirtualClock) -> None:
    site = await cloud.site()
    body = {"params": {"name": " web ", "siteUuid": site}}

    accepted = await cloud.call("POST", "/v1/boxes", body, AS_ALICE)
    await clock.settle()
    job = accepted.json()["uuid"]
    shown = await cloud.call("GET", f"/v1/api-jobs/{job}", None, AS_ALICE)

    assert accepted.status == 202
    assert accepted.headers["location"] == accepted.json()["location"] == f"/v1/api-jobs/{job}"
    view = shown.json()
    assert view["state"] == "Succeeded"
    assert view["api"] == "CreateBox"
    dates = [str(view[name]) for name in ("createDate", "finishDate")]
    assert "2026-01-01T00:00:00" < dates[0] < dates[1] < "2026-01-01T00:00:01"
    inventory = view["result"]["inventory"]  # type: ignore[index]
    assert inventory["name"] == "web"
    assert inventory["ownerUuid"] == ALICE
    assert dates[0] < inventory["createDate"] <= dates[1]
    assert inventory["uuid"] == resource_of(JobId(str(job)))


async def test_prefer_wait_answers_with_the_result_itself(cloud: World, clock: VirtualClock) -> None:
    site = await cloud.site()
    body = {"params": {"name": "web", "siteUuid": site}}

    answer = await clock.run(cloud.call("POST", "/v1/boxes", body, {**AS_ALICE, "Prefer": "respond-async, wait=10"}))

    assert answer.status == 200
    assert answer.headers["preference-applied"] == "wait"
    assert answer.json()["inventory"]["name"] == "web"  # type: ignore[index]


async def test_prefer_wait_answers_a_failure_as_problem_with_its_job(cloud: World, clock: VirtualClock) -> None:
    site = await cloud.site()
    body = {"params": {"name": "unwanted", "siteUuid": site}}

    answer = await clock.run(
        cloud.call("POST", "/v1/boxes", body, {**AS_ALICE, "Prefer": "wait=10", "X-Job-UUID": JOB})
    )

    assert answer.status == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "box.unwanted"
    assert answer.json()["job"] == JOB


async def test_prefer_wait_that_is_too_short_answers_202(cloud: World, clock: VirtualClock) -> None:
    box = await cloud.box()

    answer = await clock.run(
        cloud.call("PUT", f"/v1/boxes/{box}/actions", {"shakeBox": {}}, {**AS_ALICE, "Prefer": "wait=5"})
    )

    assert answer.status == 202
    assert answer.json()["state"] == "Running" or answer.json()["state"] == "Waiting"
    assert clock.monotonic() == 5


async def test_failed_job_shows_its_error(cloud: World, clock: VirtualClock) -> None:
    site = await cloud.site()
    await cloud.call(
        "POST", "/v1/boxes", {"params": {"name": "unwanted", "siteUuid": site}}, {**AS_ALICE, "X-Job-UUID": JOB}
    )
    await clock.settle()

    view = (await cloud.call("GET", f"/v1/api-jobs/{JOB}", None, AS_ALICE)).json()

    assert view["state"] == "Failed"
    assert view["error"]["code"] == "box.unwanted"  # type: ignore[index]
    assert view["error"]["status"] == 409  # type: ignore[index]
    assert "result" not in view


async def test_same_job_id_and_call_is_the_same_job(cloud: World, clock: VirtualClock) -> None:
    site = await cloud.site()
    body = {"params": {"name": "web", "siteUuid": site}}
    headers = {**AS_ALICE, "X-Job-UUID": JOB}

    first = await cloud.call("POST", "/v1/boxes", body, headers)
    await clock.settle()
    again = await cloud.call("POST", "/v1/boxes", body, headers)
    boxes = await cloud.call("GET", "/v1/boxes", None, AS_ALICE)

    assert (first.status, again.status) == (202, 202)
    assert again.json() == {"uuid": JOB, "location": f"/v1/api-jobs/{JOB}", "state": "Succeeded"}
    assert len(boxes.json()["inventories"]) == 1  # type: ignore[arg-type]


async def test_same_job_id_for_another_call_is_a_conflict(cloud: World) -> None:
    site = await cloud.site()
    headers = {**AS_ALICE, "X-Job-UUID": JOB}
    await cloud.call("POST", "/v1/boxes", {"params": {"name": "web", "siteUuid": site}}, headers)

    answer = await cloud.call("POST", "/v1/boxes", {"params": {"name": "db", "siteUuid": site}}, headers)

    assert answer.status == 409
    assert answer.json()["code"] == "job.id-taken"


async def test_call_beyond_the_backlog_is_told_when_to_come_again(cloud: World) -> None:
    site = await cloud.site()
    full = CairnError("job.backlog-full", "Too many are open.", kind=ErrorKind.EXHAUSTED, operator="1000 are open.")

    async def submit(*_: object, **__: object) -> bool:
        raise full

    cloud.desk.submit = submit  # type: ignore[method-assign]

    answer = await cloud.call("POST", "/v1/boxes", {"params": {"name": "web", "siteUuid": site}}, AS_ALICE)

    assert (answer.status, answer.headers["retry-after"]) == (429, "10")
    assert answer.json().items() >= {"code": "job.backlog-full", "kind": "exhausted", "status": 429}.items()


async def test_repeated_call_whose_resource_has_gone_is_answered_with_its_job(
    cloud: World, clock: VirtualClock
) -> None:
    box = await cloud.box()
    headers = {**AS_ALICE, "X-Job-UUID": JOB}
    await cloud.call("DELETE", f"/v1/boxes/{box}", None, headers)
    await clock.settle()

    again = await cloud.call("DELETE", f"/v1/boxes/{box}", None, headers)

    assert again.status == 202
    assert again.json()["state"] == "Succeeded"


@pytest.mark.parametrize("header", [{"X-Job-UUID": "nonsense"}, {"X-API-Timeout": "0"}, {"X-API-Timeout": "soon"}])
async def test_malformed_header_is_refused_by_name(cloud: World, header: dict[str, str]) -> None:
    site = await cloud.site()

    answer = await cloud.call(
        "POST", "/v1/boxes", {"params": {"name": "web", "siteUuid": site}}, {**AS_ALICE, **header}
    )

    assert answer.status == 400
    assert answer.json()["code"] == "api.invalid-header"
    assert [*answer.fields()] == [*header]


async def test_timeout_header_limits_the_job(cloud: World, clock: VirtualClock) -> None:
    box = await cloud.box()
    headers = {**AS_ALICE, "X-API-Timeout": "7", "X-Job-UUID": JOB}
    await cloud.call("PUT", f"/v1/boxes/{box}/actions", {"shakeBox": {}}, headers)

    answer = await clock.run(cloud.call("GET", f"/v1/api-jobs/{JOB}?wait=30", None, AS_ALICE))

    assert answer.json()["state"] == "Failed"
    assert answer.json()["error"]["status"] == 504  # type: ignore[index]
    assert 7 <= clock.monotonic() < 10


async def test_reference_in_body_that_names_nothing_is_422_with_field_and_uuid(cloud: World) -> None:
    site = await cloud.site()
    body = {"params": {"name": "web", "siteUuid": MISSING, "near": [site, MISSING]}}

    answer = await cloud.call("POST", "/v1/boxes", body, AS_ALICE)

    assert answer.status == 422
    assert answer.json()["code"] == "site.not-found"
    assert {*answer.fields()} == {"siteUuid", "near"}
    assert MISSING in answer.fields()["siteUuid"]


@pytest.mark.parametrize("headers", [AS_BOB, AS_ADMIN])
async def test_resource_in_path_that_is_not_there_for_the_caller_is_404(cloud: World, headers: dict[str, str]) -> None:
    box = await cloud.box(owner=ALICE) if headers is AS_BOB else MISSING

    answer = await cloud.call("PUT", f"/v1/boxes/{box}/actions", {"renameBox": {"name": "x"}}, headers)

    assert answer.status == 404
    assert answer.json()["code"] == "box.not-found"


async def test_action_is_chosen_by_the_bodys_key(cloud: World, clock: VirtualClock) -> None:
    box = await cloud.box()

    answer = await clock.run(
        cloud.call(
            "PUT",
            f"/v1/boxes/{box}/actions",
            {"renameBox": {"name": "new", "uuid": MISSING}},
            {**AS_ADMIN, "Prefer": "wait=9"},
        )
    )

    assert answer.json()["inventory"]["name"] == "new"  # type: ignore[index]
    assert answer.json()["inventory"]["uuid"] == box  # type: ignore[index]


async def test_delete_of_what_is_gone_succeeds_without_a_job(cloud: World) -> None:
    answer = await cloud.call("DELETE", f"/v1/boxes/{MISSING}", None, AS_ALICE)

    assert answer.status == 200
    assert answer.json() == {}


async def test_delete_of_what_another_owns_does_nothing(cloud: World, clock: VirtualClock) -> None:
    box = await cloud.box(owner=ALICE)

    answer = await cloud.call("DELETE", f"/v1/boxes/{box}?deleteMode=Enforcing", None, AS_BOB)
    await clock.settle()

    assert answer.status == 200
    assert (await cloud.call("GET", f"/v1/boxes/{box}", None, AS_ALICE)).status == 200


async def test_what_is_shared_can_be_used_but_not_changed(cloud: World) -> None:
    site = await cloud.site()
    box = await cloud.box(owner=ALICE)
    await cloud.share(box, BOB)

    seen = await cloud.call("GET", f"/v1/boxes/{box}", None, AS_BOB)
    used = await cloud.call("POST", "/v1/boxes", {"params": {"name": "b", "siteUuid": site, "likeUuid": box}}, AS_BOB)
    renamed = await cloud.call("PUT", f"/v1/boxes/{box}/actions", {"renameBox": {"name": "x"}}, AS_BOB)
    deleted = await cloud.call("DELETE", f"/v1/boxes/{box}", None, AS_BOB)

    assert (seen.status, used.status) == (200, 202)
    assert (renamed.status, renamed.json()["code"]) == (403, "auth.not-owner")
    assert deleted.status == 403


async def test_job_is_hidden_from_other_accounts_and_shown_to_admins(cloud: World) -> None:
    site = await cloud.site()
    await cloud.call(
        "POST", "/v1/boxes", {"params": {"name": "web", "siteUuid": site}}, {**AS_ALICE, "X-Job-UUID": JOB}
    )

    for_bob = await cloud.call("GET", f"/v1/api-jobs/{JOB}", None, AS_BOB)
    cancel_by_bob = await cloud.call("DELETE", f"/v1/api-jobs/{JOB}", None, AS_BOB)
    for_admin = await cloud.call("GET", f"/v1/api-jobs/{JOB}", None, AS_ADMIN)
    for_nobody = await cloud.call("GET", f"/v1/api-jobs/{JOB}")

    assert (for_bob.status, for_bob.json()["code"]) == (404, "job.not-found")
    assert cancel_by_bob.status == 404
    assert for_admin.status == 200
    assert for_nobody.status == 401


async def test_running_job_shows_progress_and_can_be_cancelled(cloud: World, clock: VirtualClock) -> None:
    box = await cloud.box()
    await cloud.call("PUT", f"/v1/boxes/{box}/actions", {"shakeBox": {}}, {**AS_ALICE, "X-Job-UUID": JOB})
    await clock.settle()

    running = await cloud.call("GET", f"/v1/api-jobs/{JOB}", None, AS_ALICE)
    cancelled = await cloud.call("DELETE", f"/v1/api-jobs/{JOB}", None, AS_ALICE)
    ended = await clock.run(cloud.call("GET", f"/v1/api-jobs/{JOB}?wait=5", None, AS_ALICE))

    assert running.json()["state"] in ("Waiting", "Running")
    assert cancelled.status == 202
    assert ended.json()["state"] == "Cancelled"
    assert ended.json()["error"]["code"] == "job.cancelled"  # type: ignore[index]


@pytest.mark.parametrize("wait", ["-1", "301", "long", ""])
async def test_wait_that_does_not_fit_is_refused(cloud: World, wait: str) -> None:
    site = await cloud.site()
    await cloud.call(
        "POST", "/v1/boxes", {"params": {"name": "web", "siteUuid": site}}, {**AS_ALICE, "X-Job-UUID": JOB}
    )

    answer = await cloud.call("GET", f"/v1/api-jobs/{JOB}?wait={wait}", None, AS_ALICE)

    assert answer.status == 400
    assert answer.fields() == {"wait": f'found "{wait}"; a number from 0 to 300 would fit'}


async def test_long_poll_is_answered_with_the_job_as_it_is_when_the_node_stops(
    cloud: World, clock: VirtualClock
) -> None:
    box = await cloud.box()
    await cloud.call("PUT", f"/v1/boxes/{box}/actions", {"shakeBox": {}}, {**AS_ALICE, "X-Job-UUID": JOB})
    import asyncio

    poll = asyncio.ensure_future(cloud.call("GET", f"/v1/api-jobs/{JOB}?wait=30", None, AS_ALICE))
    call = asyncio.ensure_future(
        cloud.call("PUT", f"/v1/boxes/{box}/actions", {"shakeBox": {}}, {**AS_ALICE, "Prefer": "wait=30"})
    )
    await clock.settle()

    await cloud.gateway.stop()
    await clock.settle()

    assert (await poll).json()["state"] in ("Waiting", "Running")
    assert (await poll).status == 200
    assert (await call).status == 202


def test_resource_of_a_job_is_a_fixed_version_4_uuid() -> None:
    made = resource_of(JobId(JOB))

    assert made == resource_of(JobId(JOB))
    assert is_uuid(made)
    assert made[12] == "4"
    assert made[16] in "89ab"
    assert made != resource_of(JobId("1" * 32))


async def test_command_runs_on_behalf_of_its_caller(cloud: World, clock: VirtualClock) -> None:
    assert current().actor is None
    site = await cloud.site()
    headers = {**AS_BOB, "Prefer": "wait=3"}

    answer = await clock.run(cloud.call("POST", "/v1/boxes", {"params": {"name": "b", "siteUuid": site}}, headers))

    assert answer.json()["inventory"]["ownerUuid"] == "c" * 32  # type: ignore[index]
