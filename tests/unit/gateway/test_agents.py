from __future__ import annotations

import msgspec
from tests.unit.gateway.world import Answer, request

from cairn.agents.protocol.peer import Peer, PeerRole
from cairn.agents.protocol.wire import Report
from cairn.gateway.agents import AgentCallbacks
from cairn.kernel.error import CairnError, ErrorKind


class Desk:
    """Takes what agents send."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.machines: list[str | None] = []
        self.revoked: set[int] = set()
        self.reports: list[Report] = []
        self.app = AgentCallbacks(self.deliver, self.report, self.revoked.__contains__)

    def deliver(self, body: bytes, machine: str | None) -> bool:
        self.machines.append(machine)
        if body == b"nonsense":
            raise CairnError("agent.bad-answer", "An agent's call-back is no reply.", kind=ErrorKind.INTERNAL)
        self.replies.append(body)
        return False

    async def report(self, report: Report) -> None:
        if report.kind == "bug":
            raise RuntimeError("a bug")
        self.reports.append(report)

    async def post(self, path: str, body: bytes, verb: str = "POST") -> Answer:
        return await request(self.app, verb, path, body, {})


async def test_reply_is_delivered_even_if_nobody_waits_any_more() -> None:
    desk = Desk()

    answer = await desk.post("/agents/callback", b'{"task":"t1"}')

    assert answer.status == 200
    assert desk.replies == [b'{"task":"t1"}']


async def test_reply_that_is_none_is_refused_for_good() -> None:
    answer = await Desk().post("/agents/callback", b"nonsense")

    assert (answer.status, answer.json()["code"]) == (400, "agent.bad-answer")


async def test_report_is_handed_on() -> None:
    desk = Desk()
    report = Report(host="h1", kind="vm.state", vm="v1", state="Stopped")

    answer = await desk.post("/agents/report", msgspec.json.encode(report))

    assert answer.status == 200
    assert desk.reports == [report]


async def test_report_that_is_none_is_refused_for_good() -> None:
    for body in (b"", b"{}", b"\xff"):
        answer = await Desk().post("/agents/report", body)
        assert (answer.status, answer.json()["code"]) == (400, "agent.bad-report")


async def test_bug_is_answered_so_that_the_agent_tries_again() -> None:
    answer = await Desk().post("/agents/report", b'{"host":"h1","kind":"bug"}')

    assert (answer.status, answer.json()["code"]) == (500, "internal.bug")


async def test_nothing_else_is_served() -> None:
    assert (await Desk().post("/v1/zones", b"")).status == 404
    assert (await Desk().post("/agents/report", b"", verb="GET")).status == 405


def shown(peer: Peer | None) -> dict[str, object]:
    """What the server tells of the client's certificate."""
    return {"peer": peer}


async def test_the_machine_that_replies_is_told_to_whoever_asked_it() -> None:
    desk = Desk()
    await request(desk.app, "POST", "/agents/callback", b"{}", {}, state=shown(Peer(PeerRole.AGENT, "h1", 7)))

    assert desk.machines == ["h1"]


async def test_one_that_was_revoked_is_refused_on_the_connection_that_it_has() -> None:
    path = "/agents/report"
    desk, report = Desk(), msgspec.json.encode(Report(host="h1", kind="vm.state"))
    state = shown(Peer(PeerRole.AGENT, "h1", 7))
    before = await request(desk.app, "POST", path, report, {}, state=state)
    desk.revoked.add(7)
    answers = [
        await request(desk.app, "POST", one, body, {}, state=state)
        for one, body in ((path, report), ("/agents/callback", b"{}"))
    ]

    assert before.status == 200
    assert [(one.status, one.json()["code"]) for one in answers] == [(403, "agent.revoked")] * 2
    assert len(desk.reports) == 1
    assert desk.replies == []


async def test_a_client_that_is_nobody_gets_nothing() -> None:
    answer = await request(Desk().app, "POST", "/agents/callback", b"{}", {}, state=shown(None))

    assert (answer.status, answer.json()["code"]) == (403, "agent.revoked")
