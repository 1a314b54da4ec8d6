from __future__ import annotations

import pytest
from tests.unit.gateway.world import AS_ALICE, World


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "auth.no-session"),
        ("", "auth.no-session"),
        ("OAuth", "auth.no-session"),
        ("OAuth  ", "auth.no-session"),
        ("Basic dXNlcg==", "auth.no-session"),
        (f"OAuth {'9' * 32}", "auth.expired"),
    ],
)
async def test_call_without_a_live_session_is_401(cloud: World, header: str | None, code: str) -> None:
    headers = {} if header is None else {"Authorization": header}

    answer = await cloud.call("GET", "/v1/boxes", None, headers)

    assert (answer.status, answer.json()["code"]) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["OAuth", "oauth", "Bearer"])
async def test_session_is_taken_with_either_scheme(cloud: World, scheme: str) -> None:
    answer = await cloud.call("GET", "/v1/boxes", None, {"Authorization": f"{scheme} {'2' * 32}"})

    assert answer.status == 200


async def test_api_for_admins_is_403_for_accounts(cloud: World) -> None:
    answer = await cloud.call("POST", "/v1/sites", {"params": {"name": "x"}}, AS_ALICE)

    assert (answer.status, answer.json()["code"]) == (403, "auth.admin-only")


async def test_session_is_asked_for_before_fields_are_looked_at(cloud: World) -> None:
    answer = await cloud.call("POST", "/v1/boxes", {"params": {"nam": 5}})

    assert answer.status == 401
