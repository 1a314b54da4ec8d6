from __future__ import annotations

from collections.abc import Callable
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.config import AnySetting, GlobalConfig, GlobalConfigRow, Setting, show
from cairn.kernel.error import CairnError
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.testing.clock import VirtualClock

INTERVAL = Setting("host", "ping.interval", 60, unit="s", minimum=1, maximum=600, doc="between two pings")
RATIO = Setting("host", "ratio", 1.5, minimum=0, maximum=1000, doc="how much is promised")
RECONNECT = Setting("host", "reconnect", True, doc="whether lost hosts are reconnected")
MODE = Setting("vm", "mode", "fast", choices=("fast", "safe"), doc="how it is done")
NOTE = Setting("vm", "note", "", doc="a text")
EVEN = Setting(
    "vm", "even", 2, minimum=0, maximum=9, doc="a number", check=lambda n: "an even number would fit" if n % 2 else None
)
ALL: tuple[AnySetting, ...] = (INTERVAL, RATIO, RECONNECT, MODE, NOTE)


@pytest.fixture
async def store() -> Store:
    return await Store.memory(Schema([GlobalConfigRow]), VirtualClock(), inline=True)


async def started(store: Store, *settings: AnySetting) -> GlobalConfig:
    config = GlobalConfig(store, settings or ALL)
    await config.start()
    return config


async def change(config: GlobalConfig, store: Store, setting: AnySetting, text: str) -> str:
    return await store.write(lambda tx: config.set(tx, setting.category, setting.name, text))


async def row_of(store: Store, name: str) -> GlobalConfigRow:
    (row,) = await store.read(lambda tx: tx.find(GlobalConfigRow, name=name))
    return row


@pytest.mark.parametrize(
    ("setting", "text", "value"),
    [
        (INTERVAL, "1", 1),
        (INTERVAL, "600", 600),
        (RATIO, "0.25", 0.25),
        (RATIO, "2", 2.0),
        (RECONNECT, "False", False),
        (RECONNECT, "true", True),
        (MODE, "safe", "safe"),
        (NOTE, "any thing", "any thing"),
        (NOTE, "", ""),
        (EVEN, "4", 4),
    ],
)
def test_text_that_fits_is_its_value(setting: AnySetting, text: str, value: object) -> None:
    assert setting.parse(text) == value
    assert type(setting.parse(text)) is type(value)


@pytest.mark.parametrize(
    ("setting", "text", "fits"),
    [
        (INTERVAL, "0", r"a whole number from 1 to 600 \(s\) would fit"),
        (INTERVAL, "601", "a whole number"),
        (INTERVAL, "1.5", "a whole number"),
        (INTERVAL, "", "a whole number"),
        (RATIO, "-0.1", "a number from 0 to 1000 would fit"),
        (RATIO, "nan", "a number from 0"),
        (RATIO, "inf", "a number from 0"),
        (RATIO, "1e999", "a number from 0"),
        (RATIO, "9" * 400, "a number from 0"),
        (INTERVAL, "9" * 400, r"found '9{100}… \(400 characters\)'; a whole number"),
        (INTERVAL, "9" * 5000, "a whole number"),
        (INTERVAL, "99999999999", "a whole number"),
        (NOTE, "x" * 4097, "any text of at most 4096 characters would fit"),
        (RECONNECT, "yes", "true or false would fit"),
        (MODE, "Fast", "one of fast, safe would fit"),
        (EVEN, "3", "an even number would fit"),
    ],
)
def test_text_that_does_not_fit_is_refused_with_what_would(setting: AnySetting, text: str, fits: str) -> None:
    with pytest.raises(CairnError, match=fits) as caught:
        setting.parse(text)

    assert caught.value.code == "config.bad-value"


@pytest.mark.parametrize(
    ("default", "bounds", "says"),
    [
        (5, {}, "host.size is a number: give it a minimum and a maximum"),
        (5, {"minimum": 1}, "host.size is a number"),
        (0.5, {"maximum": 1}, "host.size is a number"),
        (5, {"minimum": 1, "maximum": inf}, "that are finite"),
        (5, {"minimum": nan, "maximum": 9}, "that are finite"),
        (5, {"minimum": 6, "maximum": 9}, "has the default 5, but a whole number from 6 to 9 would fit"),
        (nan, {"minimum": 0, "maximum": 9}, "has the default nan"),
    ],
)
def test_number_without_bounds_or_beyond_them_is_refused_where_it_is_declared(
    default: float, bounds: dict[str, float], says: str
) -> None:
    with pytest.raises(TypeError, match=says):
        Setting("host", "size", default, doc="how large", **bounds)  # type: ignore[arg-type]


def test_text_without_choices_that_does_not_fit_as_default_is_refused() -> None:
    with pytest.raises(TypeError, match=r"vm\.mode has the default 'odd', but one of fast would fit"):
        Setting("vm", "mode", "odd", choices=("fast",), doc="how it is done")


@given(st.text() | st.integers().map(str) | st.floats().map(str) | st.integers(400, 9000).map(lambda n: "9" * n))
def test_any_text_becomes_a_value_within_the_bounds_or_is_refused(text: str) -> None:
    for setting in (INTERVAL, RATIO):
        try:
            value = setting.parse(text)
        except CairnError as error:
            assert error.code == "config.bad-value"
        else:
            assert setting.minimum is not None and setting.maximum is not None
            assert setting.minimum <= value <= setting.maximum


def test_any_text_is_said_to_fit_where_it_does() -> None:
    assert NOTE.fits() == "any text of at most 4096 characters would fit"
    assert show(value=False) == "false"


async def test_every_setting_has_a_row_and_its_default(store: Store) -> None:
    config = await started(store)

    assert [config.get(INTERVAL), config.get(RATIO), config.get(RECONNECT), config.get(MODE)] == [60, 1.5, True, "fast"]
    row = await row_of(store, "ping.interval")
    assert (row.value, row.default_value) == ("60", "60")
    assert row.description == "Between two pings; a whole number from 1 to 600 (s) would fit."


async def test_changed_value_is_in_force_once_durable_and_after_a_restart(store: Store) -> None:
    config = await started(store)
    heard: list[int] = []
    config.listen(INTERVAL, lambda: heard.append(config.get(INTERVAL)))

    assert await change(config, store, INTERVAL, "5") == (await row_of(store, "ping.interval")).uuid

    assert config.get(INTERVAL) == 5
    assert heard == [5]
    assert (await started(store)).get(INTERVAL) == 5


async def test_change_that_is_rolled_back_is_not_in_force(store: Store) -> None:
    config = await started(store)

    def fn(tx: object) -> None:
        config.set(tx, "host", "ping.interval", "5")  # type: ignore[arg-type]
        raise CairnError("test.no", "No.")

    with pytest.raises(CairnError):
        await store.write(fn)

    assert config.get(INTERVAL) == 60


async def test_listener_that_fails_keeps_no_other_from_hearing(store: Store) -> None:
    config = await started(store)
    heard: list[str] = []
    config.listen(MODE, lambda: [].pop())
    config.listen(MODE, lambda: heard.append("told"))

    await change(config, store, MODE, "safe")

    assert heard == ["told"]


async def test_unknown_setting_is_refused_with_those_of_its_category(store: Store) -> None:
    config = await started(store)

    with pytest.raises(CairnError, match=r"There are: vm\.mode, vm\.note") as caught:
        config.find("vm", "moode")
    with pytest.raises(CairnError, match=r"There are: host, vm"):
        config.find("vmm", "mode")
    assert caught.value.code == "config.not-found"


async def test_new_default_moves_along_unless_an_operator_had_set_the_value(store: Store) -> None:
    config = await started(store)
    await change(config, store, MODE, "safe")
    interval = Setting("host", "ping.interval", 30, minimum=1, maximum=600, doc="between two pings")
    mode = Setting("vm", "mode", "best", choices=("best", "fast", "safe"), doc="how it is done now")

    later = await started(store, interval, mode)

    assert later.get(interval) == 30
    assert later.get(mode) == "safe"
    assert (await row_of(store, "mode")).default_value == "best"
    assert (await row_of(store, "mode")).description.startswith("How it is done now; one of best")


async def test_setting_that_nobody_declares_any_more_loses_its_row(store: Store) -> None:
    await started(store)

    await started(store, MODE)

    assert await store.read(lambda tx: tx.count(GlobalConfigRow)) == 1


async def test_value_that_fits_no_more_gives_way_to_the_default(store: Store) -> None:
    config = await started(store)
    await change(config, store, INTERVAL, "600")

    shorter = Setting("host", "ping.interval", 60, minimum=1, maximum=100, doc="between two pings")

    assert (await started(store, shorter)).get(shorter) == 60
    assert (await row_of(store, "ping.interval")).value == "60"


def test_before_the_start_the_default_is_in_force() -> None:
    config = GlobalConfig.__new__(GlobalConfig)
    config._values = {}

    assert config.get(INTERVAL) == 60


async def test_setting_declared_twice_is_refused(store: Store) -> None:
    with pytest.raises(TypeError, match=r"vm\.mode is declared twice"):
        GlobalConfig(store, [MODE, MODE])


async def test_what_another_node_has_set_is_taken_over_and_those_who_listen_hear_of_what_changed(store: Store) -> None:
    one, other = await started(store), await started(store)
    heard: list[str] = []
    for setting in (INTERVAL, MODE):
        one.listen(setting, lambda setting=setting: heard.append(setting.key))  # type: ignore[misc]
    await change(other, store, INTERVAL, "7")
    assert one.get(INTERVAL) == 60
    await one.reread()
    await one.reread()
    assert (one.get(INTERVAL), one.get(MODE)) == (7, "fast")
    assert heard == [INTERVAL.key]


async def test_a_value_of_another_version_that_does_not_fit_is_left_alone(store: Store) -> None:
    config = await started(store, INTERVAL)
    await store.write(lambda tx: tx.update_where(GlobalConfigRow, {"name": INTERVAL.name}, value="much"))
    await config.reread()
    assert config.get(INTERVAL) == 60


async def test_rows_that_another_node_makes_at_the_same_time_are_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = store.write

    async def beaten(fn: Callable[[Tx], object]) -> object:
        monkeypatch.setattr(store, "write", write)
        await started(store)
        await change(await started(store), store, INTERVAL, "7")
        raise CairnError("store.duplicate", "It is there already.")

    monkeypatch.setattr(store, "write", beaten)
    assert (await started(store)).get(INTERVAL) == 7
