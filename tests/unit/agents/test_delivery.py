from __future__ import annotations

import msgspec
from tests.unit.agents.fakes import FakeClock, FakePoster, RushingClock, settle

from cairn.agents.delivery import GIVE_UP_SECONDS, MAX_REPORTS, Delivery
from cairn.agents.protocol.wire import Reply, Report

URL = "https://node/x"


def report(vm: str) -> Report:
    return Report(host="h", kind="vm.state", vm=vm, state="Stopped")


async def test_reply_is_repeated_until_it_is_taken() -> None:
    poster = FakePoster(OSError("refused"), 503, 200)
    delivery = Delivery(poster, RushingClock())
    delivery.reply(URL, Reply(task="t"))
    await settle()
    assert len(poster.posted) == 3


async def test_reply_that_is_refused_is_not_repeated() -> None:
    poster = FakePoster(404)
    delivery = Delivery(poster, RushingClock())
    delivery.reply(URL, Reply(task="t"))
    await settle()
    assert len(poster.posted) == 1


async def test_reply_is_given_up_when_nobody_can_be_waiting_any_more() -> None:
    clock = RushingClock()
    poster = FakePoster(*[OSError("no route")] * 1000)
    Delivery(poster, clock).reply(URL, Reply(task="t"))
    for _ in range(10):
        await settle()
    assert 5 < len(poster.posted) < 60
    assert clock.now - 1000 <= GIVE_UP_SECONDS


async def test_reports_arrive_in_order_also_when_the_first_has_to_be_repeated() -> None:
    poster = FakePoster(OSError("refused"))
    delivery = Delivery(poster, RushingClock())
    for vm in ("a", "b"):
        delivery.report(URL, report(vm))
    await settle()
    assert [msgspec.json.decode(body)["vm"] for _, body in poster.posted] == ["a", "a", "b"]


async def test_too_many_reports_drop_the_oldest() -> None:
    poster = FakePoster()
    delivery = Delivery(poster, RushingClock())
    for number in range(MAX_REPORTS + 5):
        delivery.report(URL, report(str(number)))
    for _ in range(100):
        await settle()
    assert len(poster.posted) == MAX_REPORTS
    assert msgspec.json.decode(poster.posted[0][1])["vm"] == "5"


async def test_close_gives_up_what_waits() -> None:
    poster = FakePoster(*[OSError("refused")] * 10)
    delivery = Delivery(poster, FakeClock())
    delivery.reply(URL, Reply(task="t"))
    delivery.report(URL, report("a"))
    await settle()
    await delivery.close()
    assert len(poster.posted) == 2
