from __future__ import annotations

import asyncio
import string
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.unit.gateway.world import AS_ADMIN, AS_ALICE, MISSING, Answer, CreateBox, World, request, world

from cairn.gateway.gateway import Gateway
from cairn.kernel.api import ApiCommand, Http, Uuid, action, post
from cairn.kernel.readiness import Readiness
from cairn.testing.clock import VirtualClock


async def refused(cloud: World, verb: str, target: str, body: object = None, **headers: str) -> Answer:
    return await cloud.call(verb, target, body, {**AS_ALICE, **headers})


async def test_every_wrong_field_is_named_with_what_would_fit(cloud: World) -> None:
    params = {
        "name": "",
        "nam": "x",
        "siteUuid": "here",
        "color": "Green",
        "height": 9,
        "secret": "abc",
        "labels": [{"textValue": "ok"}, {"textValue": "far too long", "siez": 3}, 7],
    }

    answer = await refused(cloud, "POST", "/v1/boxes", {"params": params})

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json()["code"] == "api.invalid-field"
    assert answer.json()["type"] == "urn:cairn:error:api.invalid-field"
    label = "an object with the fields textValue, size (needed: textValue)"
    assert answer.fields() == {
        "name": 'found ""; text of 1 to 255 characters, without control characters would fit',
        "nam": "unknown; did you mean name?",
        "siteUuid": 'found "here"; 32 lower-case hex digits would fit',
        "color": 'found "Green"; one of Red, Blue would fit',
        "height": "found 9; a whole number from 1 to 5 would fit",
        "secret": "found a text of 3 characters; text of at least 4 characters or null would fit",
        "labels[1].textValue": 'found "far too long"; text of 1 to 8 characters would fit',
        "labels[1].siez": "unknown; did you mean size?",
        "labels[2]": f"found 7; {label} would fit",
    }


async def test_missing_field_is_named(cloud: World) -> None:
    answer = await refused(cloud, "POST", "/v1/boxes")

    assert answer.fields() == {
        "name": "missing; text of 1 to 255 characters, without control characters would fit",
        "siteUuid": "missing; 32 lower-case hex digits would fit",
    }


async def test_texts_are_trimmed_but_secrets_are_not(cloud: World) -> None:
    answer = await cloud.call("PUT", "/v1/login", {"logIn": {"name": " me ", "password": " x "}})

    assert answer.status == 200
    assert answer.json() == {"totalGrams": 0, "askedBy": None, "seen": ["me", " x "]}


async def test_tags_beside_the_fields_win_over_those_inside(cloud: World, clock: VirtualClock) -> None:
    seen: list[CreateBox] = []

    async def submit(job: object, message: CreateBox, **_: object) -> bool:
        seen.append(message)
        return True

    cloud.desk.submit = submit  # type: ignore[method-assign, assignment]
    site = await cloud.site()
    params = {"name": "web", "siteUuid": site, "systemTags": ["place::inside"], "userTags": ["inside"]}

    await refused(cloud, "POST", "/v1/boxes", {"params": params, "systemTags": ["place::beside"]})

    assert seen[0].system_tags == ["place::beside"]
    assert seen[0].user_tags == ["inside"]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"name": "web"}, {"name": "found next to 'params'; inside it, it would fit"}),
        ({"param": {}}, {"param": "unknown; the fields of CreateBox stand in the object 'params'"}),
        ({"params": []}, {"params": "found []; an object with the fields of CreateBox would fit"}),
        ({"params": {"@message": "test-box.create"}}, None),
        ({"params": {"height": 2**70}}, None),
    ],
)
async def test_body_of_another_shape_is_refused(cloud: World, body: object, wrong: dict[str, str] | None) -> None:
    answer = await refused(cloud, "POST", "/v1/boxes", body)

    assert answer.status == 400
    assert answer.json()["code"] == "api.invalid-field"
    if wrong is not None:
        assert answer.fields().items() >= wrong.items()
    else:
        assert {"@message", "height"} & answer.fields().keys()


@pytest.mark.parametrize("body", [b"", b"null", b" \n", b"{}", {"params": None}, {"params": {}}])
async def test_no_body_is_no_fields(cloud: World, body: object) -> None:
    answer = await refused(cloud, "POST", "/v1/boxes", body)

    assert {*answer.fields()} == {"name", "siteUuid"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b'{"params": {"name" "x"}}', {}, 400, "api.malformed-json"),
        (b"[1]", {}, 400, "api.malformed-json"),
        (b"\xff\xfe", {}, 400, "api.malformed-json"),
        (b"[" * 10_000, {}, 400, "api.malformed-json"),
        (b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415, "api.media-type"),
        (b"x" * 70_000, {}, 413, "api.too-large"),
        (b"", {"content-length": "99999999"}, 413, "api.too-large"),
    ],
)
async def test_body_that_cannot_be_read_says_why(
    cloud: World, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await refused(cloud, "POST", "/v1/boxes", body, **headers)

    assert (answer.status, answer.json()["code"]) == (status, code)


async def test_malformed_json_tells_the_position(cloud: World) -> None:
    answer = await refused(cloud, "POST", "/v1/boxes", b'{"params": {"name" "x"}}')

    assert "byte 19" in str(answer.json()["detail"])


async def test_json_with_charset_is_taken(cloud: World) -> None:
    answer = await refused(
        cloud, "POST", "/v1/boxes", {"params": {}}, **{"Content-Type": "application/json; charset=utf-8"}
    )

    assert answer.status == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "api.no-action"),
        ({"renameBx": {}}, "api.no-action"),
        ({"renameBox": {}, "shakeBox": {}}, "api.several-actions"),
    ],
)
async def test_action_that_is_not_clear_names_those_that_are(cloud: World, body: object, code: str) -> None:
    answer = await refused(cloud, "PUT", f"/v1/boxes/{MISSING}/actions", body)

    assert (answer.status, answer.json()["code"]) == (400, code)
    assert answer.json()["details"] == {"fits": ["renameBox", "shakeBox"]}
    if "renameBx" in str(body):
        assert "Did you mean renameBox?" in str(answer.json()["detail"])


async def test_malformed_uuid_in_path_is_a_wrong_field(cloud: World) -> None:
    answer = await refused(cloud, "PUT", "/v1/boxes/nonsense/actions", {"renameBox": {"name": "x"}})

    assert answer.status == 400
    assert [*answer.fields()] == ["uuid"]


async def test_query_api_takes_its_fields_from_the_query_string(cloud: World) -> None:
    answer = await cloud.call(
        "GET", "/v1/boxes/weight?each=5&names=a&names=b&limits.min=3&wet=true&names.2=c%20d", None, AS_ALICE
    )

    assert answer.status == 200
    assert answer.json() == {"totalGrams": 15, "askedBy": "b" * 32, "seen": ["a", "b", "c d", "min=3", "True"]}


async def test_query_string_that_does_not_fit_names_each_field(cloud: World) -> None:
    answer = await cloud.call(
        "GET", "/v1/boxes/weight?each=five&wte=true&limits.min=x&wet=maybe&names.x=1", None, AS_ALICE
    )

    assert answer.fields() == {
        "each": 'found "five"; a whole number would fit',
        "wte": "unknown; did you mean wet?",
        "limits.min": 'found "x"; a whole number would fit',
        "wet": 'found "maybe"; true or false would fit',
        "names.x": "unknown; did you mean names?",
    }


async def test_scalar_given_twice_is_refused(cloud: World) -> None:
    answer = await cloud.call("GET", "/v1/boxes/weight?each=5&each=6", None, AS_ALICE)

    assert answer.fields() == {"each": "given twice; a whole number would fit"}


async def test_query_string_that_is_no_utf8_is_refused(cloud: World) -> None:
    answer = await cloud.call("GET", "/v1/boxes/weight?each=%ff", None, AS_ALICE)

    assert answer.json()["code"] == "api.malformed-query"


async def test_query_api_refers_to_what_is_not_there(cloud: World) -> None:
    answer = await cloud.call("GET", f"/v1/boxes/weight?each=1&siteUuid={MISSING}", None, AS_ALICE)

    assert (answer.status, answer.json()["code"]) == (422, "site.not-found")


async def test_bug_in_a_handler_is_500_and_says_so(cloud: World) -> None:
    answer = await cloud.call("GET", "/v1/boxes/weight?each=-1", None, AS_ALICE)

    assert answer.status == 500
    assert answer.json()["code"] == "internal.bug"
    assert "a scale broke" not in str(answer.json())
    told = (await cloud.call("GET", "/v1/boxes/weight?each=-1", None, AS_ADMIN)).json()
    assert told["operator"] == "RuntimeError: a scale broke"


async def test_bug_in_the_gateway_is_500_and_says_so(cloud: World) -> None:
    async def broken(tx: object) -> None:
        raise RuntimeError("no disk")

    cloud.query.get = broken  # type: ignore[method-assign, assignment]

    answer = await cloud.call("GET", f"/v1/boxes/{MISSING}", None, AS_ALICE)

    assert (answer.status, answer.json()["code"]) == (500, "internal.bug")


async def test_unknown_path_names_the_nearest(cloud: World) -> None:
    answer = await cloud.call("GET", "/v1/boxs")
    far = await cloud.call("GET", "/elsewhere/entirely")

    assert (answer.status, answer.json()["code"]) == (404, "api.unknown-path")
    assert "/v1/boxes" in answer.json()["details"]["nearest"]  # type: ignore[index]
    assert "/v1/schema" in str(far.json()["detail"])


async def test_wrong_verb_names_the_right_ones(cloud: World) -> None:
    answer = await cloud.call("PATCH", "/v1/boxes")

    assert answer.status == 405
    assert answer.headers["allow"] == "GET, POST"
    assert answer.json()["details"] == {"allowed": ["GET", "POST"]}


async def test_empty_segments_and_escapes_in_paths_do_not_matter(cloud: World) -> None:
    answer = await cloud.call("GET", "//v1/%62oxes/", None, AS_ALICE)

    assert answer.status == 200


async def test_head_is_answered_like_get(cloud: World) -> None:
    assert (await cloud.call("HEAD", "/healthz")).status == 200


async def test_node_tells_of_itself(cloud: World) -> None:
    index = await cloud.call("GET", "/")
    health = await cloud.call("GET", "/healthz")
    ready = await cloud.call("GET", "/readyz")
    cloud.readiness = Readiness(reasons=["the database cannot be written"], behind=["job cleaning"])
    starting = await cloud.call("GET", "/readyz")
    metrics = await cloud.call("GET", "/metrics", None, AS_ADMIN)

    assert index.json()["places"]["api"] == "/v1/openapi.json"  # type: ignore[index]
    assert health.json() == {"status": "ok"}
    assert (ready.status, starting.status) == (200, 503)
    assert ready.json() == {"status": "ready", "reasons": [], "behind": []}
    assert starting.json() == {
        "status": "not ready",
        "reasons": ["the database cannot be written"],
        "behind": ["job cleaning"],
    }
    assert metrics.headers["content-type"].startswith("text/plain")
    assert b"cairn_http_seconds" in metrics.body


async def test_mounted_app_gets_everything_below_its_segment(cloud: World) -> None:
    seen: list[str] = []

    async def app(scope: dict[str, object], receive: object, send: object) -> None:
        seen.append(str(scope["path"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    cloud.gateway._mounts["zstack"] = app  # type: ignore[assignment]

    answer = await cloud.call("GET", "/zstack/v1/boxes")

    assert answer.status == 204
    assert seen == ["/zstack/v1/boxes"]


async def test_call_counts_by_api_and_status(cloud: World) -> None:
    await refused(cloud, "POST", "/v1/boxes", {"params": {}})

    assert (
        b'cairn_http_seconds_count{api="CreateBox",status="400"} 1.0'
        in (await cloud.call("GET", "/metrics", None, AS_ADMIN)).body
    )


async def test_client_that_goes_away_in_its_body_is_not_answered(cloud: World) -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/boxes", "query_string": b"", "headers": []}
    await cloud.gateway(scope, receive, send)

    assert sent == []


def _gateway(cloud: World, *apis: type[ApiCommand[None]]) -> Gateway:
    from tests.unit.gateway.world import Sessions

    from cairn.kernel.settings import load
    from cairn.kernel.tag import Tags

    return Gateway(
        apis=apis,
        settings=load({}),
        store=cloud.store,
        query=cloud.query,
        jobs=cloud.desk,
        bus=cloud.bus,
        events=cloud.events,
        metrics=cloud.metrics,
        authenticator=Sessions(),
        tags=Tags(cloud.gateway._commands._ids, []),
        ids=cloud.gateway._commands._ids,
        clock=cloud.clock,
    )


async def test_api_whose_path_names_no_field_is_refused_at_start(cloud: World) -> None:
    class Lost(ApiCommand[None], frozen=True, kw_only=True, tag="test-gateway.lost"):
        http = action("/lost/{uuid}/actions", "lost")

    with pytest.raises(TypeError, match=r"Lost: \{uuid\} of /lost/\{uuid\}/actions names no field"):
        _gateway(cloud, Lost)


async def test_two_apis_in_one_place_are_refused_at_start(cloud: World) -> None:
    class One(ApiCommand[None], frozen=True, kw_only=True, tag="test-gateway.one"):
        http = post("/same/{uuid}")
        uuid: Uuid

    class Two(ApiCommand[None], frozen=True, kw_only=True, tag="test-gateway.two"):
        http = post("/same/{otherUuid}")
        other_uuid: Uuid

    class Three(ApiCommand[None], frozen=True, kw_only=True, tag="test-gateway.three"):
        http = Http(verb="PATCH", path="/three")

    class Four(ApiCommand[None], frozen=True, kw_only=True, tag="test-gateway.four"):
        http = action("/four", "go")

    class Five(ApiCommand[None], frozen=True, kw_only=True, tag="test-gateway.five"):
        http = action("/four", "go")

    with pytest.raises(TypeError, match="served twice"):
        _gateway(cloud, One, Two)
    with pytest.raises(TypeError, match="PATCH"):
        _gateway(cloud, Three)
    with pytest.raises(TypeError, match="same key"):
        _gateway(cloud, Four, Five)


_words = st.sampled_from(["name", "siteUuid", "color", "labels", "near", "height", "systemTags", "@message", "secret"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["Red", "a" * 32]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
_segments = st.sampled_from(["v1", "boxes", "actions", "weight", "api-jobs", "login", "sites", "%2e", "a" * 32])


@given(
    verb=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.lists(_segments, max_size=4),
    query=st.lists(
        st.tuples(
            st.sampled_from(["q", "limit", "start", "sort", "fields", "count", "each", "names", "wait", "deleteMode"]),
            st.text(max_size=8) | st.sampled_from(["name=x", "uuid?=a,b", "color is null", "-name", "3"]),
        ),
        max_size=3,
    ),
    body=st.binary(max_size=20)
    | st.dictionaries(st.sampled_from(["params", "renameBox", "shakeBox", "logIn", "x"]), _values, max_size=2)
    | st.builds(lambda inner: {"params": inner}, st.dictionaries(_words, _values)),
)
@hypothesis_settings(deadline=None, max_examples=150)
def test_no_request_whatever_is_a_bug(
    verb: str, path: list[str], query: list[tuple[str, str]], body: bytes | dict[str, object]
) -> None:
    async def run() -> Answer:
        clock = VirtualClock()
        cloud = await world(clock)
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        text = "&".join(f"{name}={quote(value, safe=string.punctuation.replace('&', ''))}" for name, value in query)
        target = f"/{'/'.join(['v1', *path])}?{text}"
        headers = AS_ADMIN
        call = asyncio.ensure_future(request(cloud.gateway, verb, target, raw, headers))
        try:
            answer = await clock.run(call)
        finally:
            await cloud.jobs.stop()
            await cloud.store.close()
        return answer

    answer = asyncio.run(run())

    assert answer.status != 500, answer.body
    assert answer.status < 600
