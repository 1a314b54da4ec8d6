"""Log-ins and sessions, as strangers and thieves meet them."""

from __future__ import annotations

from typing import cast

import msgspec
import pytest

from cairn.testing.cloud import ADMIN_PASSWORD, Cloud, Json, Refused, asgi

HOME, STRANGER = "198.51.100.1", "203.0.113.7"
OLD, NEW = "an old horse battery", "a new horse battery"


async def log_in(cloud: Cloud, account: str, password: str, address: str) -> tuple[int, Json]:
    body = msgspec.json.encode({"logInByAccount": {"accountName": account, "password": password}})
    headers = {"content-type": "application/json"}
    return await cloud.clock.run(asgi(cloud.node, "PUT", "/v1/accounts/login", body, headers, address=address))


async def test_strangers_do_not_lock_the_admin_out(cloud: Cloud) -> None:
    assert (await log_in(cloud, "admin", ADMIN_PASSWORD, HOME))[0] == 200
    for _ in range(3):
        statuses = {(await log_in(cloud, "admin", "guess", STRANGER))[0] for _ in range(12)}
        assert 429 in statuses
        assert statuses <= {401, 429}
        assert (await log_in(cloud, "admin", ADMIN_PASSWORD, HOME))[0] == 200
        assert (await log_in(cloud, "admin", ADMIN_PASSWORD, "127.0.0.1"))[0] == 200
        await cloud.quiet(60)


async def test_many_strangers_do_not_lock_the_admin_out_of_a_known_place(cloud: Cloud) -> None:
    assert (await log_in(cloud, "admin", ADMIN_PASSWORD, HOME))[0] == 200
    codes = [(await log_in(cloud, "admin", "guess", f"203.0.113.{number}"))[1]["code"] for number in range(60)]
    assert codes.count("auth.wrong-password") == 20
    assert (await log_in(cloud, "admin", ADMIN_PASSWORD, HOME))[0] == 200


async def test_one_that_is_to_come_later_is_told_when(cloud: Cloud) -> None:
    for _ in range(6):
        status, answer = await log_in(cloud, "admin", "guess", STRANGER)
    assert (status, answer["code"]) == (429, "auth.too-many-tries")
    assert cast("Json", answer["details"])["retryAfterSeconds"] == 2


async def test_stolen_session_ends_with_the_password_that_it_came_from(cloud: Cloud) -> None:
    bob = await cloud.create_account("bob", OLD)
    await cloud.log_in("bob", OLD)
    stolen = cloud._session
    await cloud.log_in("bob", OLD)
    await cloud.call("UpdateAccount", uuid=bob, password=NEW, old_password=OLD)

    assert [row["name"] for row in await cloud.query("Account")] == ["bob"], "the session that changed it goes on"
    cloud._session = stolen
    status, answer = await cloud.request("GET", "/v1/accounts")
    assert (status, answer["code"]) == (401, "auth.expired")
    renewal = {"renewSession": {"duration": 31_536_000}}
    status, answer = await cloud.request("PUT", f"/v1/accounts/sessions/{stolen}/renew", renewal)
    assert (status, answer["code"]) == (401, "auth.expired")
    await cloud.log_in()
    await cloud.call("DeleteAccount", uuid=bob)


async def test_session_is_renewed_no_further_than_sessions_live(cloud: Cloud) -> None:
    session = cloud._session or ""
    await cloud.log_in()
    session = cloud._session
    body = {"renewSession": {"duration": 31_536_000}}
    _, answer = await cloud.request("PUT", f"/v1/accounts/sessions/{session}/renew", body)
    told = cast("Json", answer["inventory"])
    created, ends = str(told["createDate"])[:10], str(told["expiredDate"])[:10]
    assert (int(ends[8:]) - int(created[8:])) % 31 == 7


@pytest.mark.parametrize("password", ["x", "password", "Password1", "mallory1"])
async def test_weak_password_makes_no_job(cloud: Cloud, password: str) -> None:
    with pytest.raises(Refused) as refused:
        await cloud.call("CreateAccount", name="mallory1", password=password)
    assert (refused.value.status, refused.value.code) == (400, "account.weak-password")
    assert await cloud.query("Account", "name=mallory1") == []


async def test_clients_behind_a_proxy_are_told_apart_by_what_it_says_of_them() -> None:
    async def tried(cloud: Cloud, password: str, client: str) -> int:
        body = msgspec.json.encode({"logInByAccount": {"accountName": "admin", "password": password}})
        headers = {"content-type": "application/json", "x-forwarded-for": client}
        return (await cloud.clock.run(asgi(cloud.node, "PUT", "/v1/accounts/login", body, headers)))[0]

    async with Cloud.open(hosts=0, settings={"trusted_proxies": "127.0.0.1"}) as cloud:
        assert 429 in [await tried(cloud, "guess", STRANGER) for _ in range(6)]
        assert await tried(cloud, ADMIN_PASSWORD, HOME) == 200


async def test_an_administrator_is_told_when_certificates_end_by_call_and_by_metric(cloud: Cloud) -> None:
    status, told = await cloud.request("GET", "/v1/certificates")
    assert status == 200
    found = cast("list[Json]", told["inventories"])
    assert [(one["holder"], one["number"], one["ending"]) for one in found] == [("authority", 1, 0)]
    page = cloud.node.context.metrics.render().decode()
    assert 'cairn_certificates_ending{certificate="authority"} 0.0' in page
