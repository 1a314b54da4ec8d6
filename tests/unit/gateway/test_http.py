from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from cairn.gateway.http import MOST_QUERY_BYTES, Disconnected, HttpRequest, Reply, json_reply, problem_reply
from cairn.gateway.problem import HttpError
from cairn.kernel.error import CairnError, ErrorKind

Event = dict[str, object]


def call(
    *chunks: bytes, query: bytes = b"", headers: Iterable[tuple[bytes, bytes]] = (), then: Event | None = None
) -> HttpRequest:
    events: list[Event] = [
        {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1 or then is not None}
        for at, chunk in enumerate(chunks)
    ]
    events += [then] if then is not None else []
    scope = {"method": "POST", "path": "/v1/zones", "headers": list(headers), "query_string": query}

    async def receive() -> Event:
        return events.pop(0)

    return HttpRequest(scope, receive)


async def refused(one: HttpRequest, limit: int = 100) -> tuple[str, int]:
    with pytest.raises(HttpError) as caught:
        await one.json(limit)
    return caught.value.code, problem_reply(caught.value).status_code


async def test_a_body_comes_in_parts_and_is_one() -> None:
    assert await call(b'{"a"', b": ", b"1}").json(100) == {"a": 1}


@pytest.mark.parametrize("body", [b"", b"  \n"])
async def test_no_body_is_none(body: bytes) -> None:
    assert await call(body).json(100) is None


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    assert await call(b"[1,", b"2]").body(5) == b"[1,2]"
    assert await refused(call(b"[1,", b"2]"), 4) == ("api.too-large", 413)


async def test_a_body_that_is_announced_too_large_is_refused_unread() -> None:
    assert await refused(call(headers=[(b"content-length", b"101")])) == ("api.too-large", 413)


async def test_a_client_that_goes_amid_its_body_is_not_answered() -> None:
    with pytest.raises(Disconnected):
        await call(b"[1", then={"type": "http.disconnect"}).body(100)


@pytest.mark.parametrize("media", [b"application/json; charset=utf-8", b"text/json", b"application/merge-patch+json"])
async def test_json_by_any_of_its_names_is_read(media: bytes) -> None:
    assert await call(b"[]", headers=[(b"content-type", media)]).json(100) == []


@pytest.mark.parametrize(
    ("body", "headers", "answer"),
    [
        (b"a=1", [(b"content-type", b"application/x-www-form-urlencoded")], ("api.media-type", 415)),
        (b"{", [], ("api.malformed-json", 400)),
        (b'"\xff"', [], ("api.malformed-json", 400)),
        (b"[" * 90_000, [], ("api.malformed-json", 400)),
    ],
)
async def test_what_is_not_json_is_refused(
    body: bytes, headers: list[tuple[bytes, bytes]], answer: tuple[str, int]
) -> None:
    assert await refused(call(body, headers=headers), 100_000) == answer


def test_a_query_keeps_its_order_and_empty_values() -> None:
    assert call(query=b"q=a%3D1&q=&limit=2").query == [("q", "a=1"), ("q", ""), ("limit", "2")]


@pytest.mark.parametrize("query", [b"q=%ff", b"\xff", b"&".join([b"q=1"] * 1001)])
def test_a_query_that_cannot_be_read_is_refused(query: bytes) -> None:
    with pytest.raises(HttpError) as caught:
        _ = call(query=query).query
    assert caught.value.code == "api.malformed-query"


def test_headers_are_found_by_their_lower_case_names() -> None:
    one = call(headers=[(b"x-job-uuid", b" abc ")])
    assert (one.header(b"x-job-uuid"), one.header(b"none")) == ("abc", None)


def test_answers_are_never_kept_and_tell_their_length() -> None:
    headers = dict(json_reply({"a": 1}, 202, headers={"Location": "/x"}).raw_headers)
    assert headers[b"content-length"] == b"7"
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"location"] == b"/x"
    assert Reply(b"x").status_code == 200


def test_an_error_is_a_problem_with_its_job() -> None:
    error = CairnError("zone.not-found", "There is none.", kind=ErrorKind.NOT_FOUND)
    reply = problem_reply(error, job="j1", headers={"X-More": "1"})
    told = msgspec.json.decode(reply.body)
    assert (reply.status_code, told["code"], told["job"]) == (404, "zone.not-found", "j1")
    assert dict(reply.raw_headers)[b"content-type"] == b"application/problem+json"
    assert dict(reply.raw_headers)[b"x-more"] == b"1"


def test_a_query_string_is_bounded_before_it_is_read() -> None:
    with pytest.raises(CairnError) as caught:
        call(query=b"q=" + b"x" * MOST_QUERY_BYTES).query  # noqa: B018 (reading is what fails)
    assert (caught.value.code, problem_reply(caught.value).status_code) == ("api.too-long", 414)


def test_an_error_has_its_text_for_operators_only_for_administrators() -> None:
    error = CairnError("vm.no", "No.", operator="host-1")
    assert b"host-1" not in problem_reply(error).body
    assert msgspec.json.decode(problem_reply(error, to_admin=True).body)["operator"] == "host-1"


def test_one_that_is_to_come_later_is_told_when_in_a_header() -> None:
    error = CairnError("auth.busy", "Later.", kind=ErrorKind.EXHAUSTED, details={"retryAfterSeconds": 5})
    reply = problem_reply(error)
    assert reply.status_code == 429
    assert (b"retry-after", b"5") in reply.raw_headers
