from __future__ import annotations

import pytest

from cairn.gateway.http import HttpRequest, Reply
from cairn.gateway.problem import HttpError
from cairn.gateway.route import Router


async def here(call: HttpRequest) -> Reply:
    return Reply(b"here")


async def there(call: HttpRequest) -> Reply:
    return Reply(b"there")


def router(*paths: tuple[str, str]) -> Router:
    made = Router()
    for verb, path in paths:
        made.add(verb, path, here)
    return made


def test_fixed_segment_wins_over_variable() -> None:
    made = router(("GET", "/zones/{uuid}"))
    made.add("GET", "/zones/types", there)

    assert made.find("GET", "/zones/types") == (there, ())
    assert made.find("GET", "/zones/abc") == (here, ("abc",))


def test_fixed_segment_that_leads_nowhere_gives_way_to_variable() -> None:
    made = router(("GET", "/nics/{uuid}/groups"))
    made.add("GET", "/nics/all/ports", there)

    assert made.find("GET", "/nics/all/groups") == (here, ("all",))
    assert made.find("GET", "/nics/all/ports") == (there, ())


def test_variables_come_in_their_order() -> None:
    made = router(("DELETE", "/l2/{l2Uuid}/clusters/{clusterUuid}"))

    assert made.find("DELETE", "/l2/a/clusters/b") == (here, ("a", "b"))


def test_names_of_variables_do_not_matter() -> None:
    made = router(("PUT", "/zones/{uuid}/actions"))

    assert made.has("PUT", "/zones/{zoneUuid}/actions")
    assert not made.has("GET", "/zones/{uuid}/actions")
    assert not made.has("PUT", "/zones/types/actions")
    with pytest.raises(TypeError, match="served twice"):
        made.add("PUT", "/zones/{zoneUuid}/actions", here)


def test_unknown_path_names_near_ones_with_their_variables() -> None:
    made = router(("PUT", "/v1/vm-instances/{uuid}/actions"), ("GET", "/v1/zones"))

    with pytest.raises(HttpError) as caught:
        made.find("PUT", "/v1/vm-instance/0123456789/actions")

    assert caught.value.status == 404
    assert caught.value.details["nearest"] == ["/v1/vm-instances/{uuid}/actions"]


def test_wrong_verb_tells_the_right_ones() -> None:
    made = router(("PUT", "/zones"), ("GET", "/zones"))

    with pytest.raises(HttpError) as caught:
        made.find("POST", "/zones")

    assert caught.value.status == 405
    assert caught.value.headers == {"Allow": "GET, PUT"}
