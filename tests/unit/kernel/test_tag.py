from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.error import CairnError
from cairn.kernel.extensions import TagHook
from cairn.kernel.ids import RandomIds
from cairn.kernel.resource import Resource
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store, Tx
from cairn.kernel.tag import SystemTag, TagDefinition, Tags, UserTag
from cairn.testing.clock import VirtualClock

HOSTNAME = TagDefinition(
    "hostname::{hostname}",
    "VmInstance",
    doc="the guest's name",
    check=lambda values: "no spaces" if " " in values["hostname"] else None,
)
ADDRESS = TagDefinition("staticIp::{network}::{address}", "VmInstance", doc="the address")
PLAIN = TagDefinition("ha.always", "VmInstance", doc="kept running")
NET = "a" * 32


def tags() -> Tags:
    return Tags(RandomIds(seed=1), [HOSTNAME, ADDRESS, PLAIN])


@pytest.fixture
async def store() -> Store:
    store = await Store.memory(Schema([Resource, SystemTag, UserTag]), VirtualClock(), inline=True)
    for uuid in ("vm", "other"):
        await store.write(
            lambda tx, uuid=uuid: tx.insert(Resource(uuid=uuid, type="VmInstance", name=uuid, create_date=tx.now))  # type: ignore[misc]
        )
    return store


@pytest.mark.parametrize(
    ("definition", "tag", "values"),
    [
        (HOSTNAME, "hostname::web", {"hostname": "web"}),
        (HOSTNAME, "hostname::", None),
        (HOSTNAME, "Hostname::web", None),
        (HOSTNAME, "hostname::a\nb", {"hostname": "a\nb"}),
        (ADDRESS, f"staticIp::{NET}::10.0.0.1", {"network": NET, "address": "10.0.0.1"}),
        (ADDRESS, f"staticIp::{NET}::fd00::5", {"network": NET, "address": "fd00::5"}),
        (ADDRESS, f"staticIp::{NET}::::1", {"network": NET, "address": "::1"}),
        (ADDRESS, f"staticIp::{NET}", None),
        (PLAIN, "ha.always", {}),
        (PLAIN, "haXalways", None),
    ],
)
def test_tag_is_taken_apart_by_its_definition(
    definition: TagDefinition, tag: str, values: dict[str, str] | None
) -> None:
    assert definition.parse(tag) == values


@given(st.text("abc", min_size=1), st.text(min_size=1))
def test_rendered_tag_is_read_back(network: str, address: str) -> None:
    tag = ADDRESS.render(network=network, address=address)

    if not address.startswith(":"):
        assert ADDRESS.parse(tag) == {"network": network, "address": address}


def test_tag_that_no_plugin_understands_is_refused_with_those_that_would_fit() -> None:
    with pytest.raises(CairnError, match=r"fit: hostname::\{hostname\}, staticIp::.*, ha.always") as caught:
        tags().check("VmInstance", ["hostname::web", "color::red"])
    with pytest.raises(CairnError, match=r"none: no plugin defines one"):
        tags().check("Zone", ["hostname::web"])

    assert caught.value.code == "tag.unknown"
    assert "systemTags" in caught.value.fields


def test_tag_with_a_wrong_value_is_refused_with_the_reason() -> None:
    with pytest.raises(CairnError, match=r"no spaces\. It means: the guest's name") as caught:
        tags().check("VmInstance", ["hostname::my web"])

    assert caught.value.code == "tag.bad-value"


def test_tag_that_a_later_definition_takes_is_taken() -> None:
    other = TagDefinition("hostname::{first}", "VmInstance", doc="more liberal")

    Tags(RandomIds(seed=1), [HOSTNAME, other]).check("VmInstance", ["hostname::my web"])


async def test_added_tags_stay_single_and_keep_their_ids(store: Store) -> None:
    desk = tags()

    first = await store.write(lambda tx: desk.add(tx, "VmInstance", "vm", system=["hostname::web"], user=["mine"]))
    again = await store.write(lambda tx: desk.add(tx, "VmInstance", "vm", system=["hostname::web"], user=["mine"]))

    assert first == again
    assert len(set(first)) == 2
    assert await store.read(lambda tx: (tx.count(SystemTag), tx.count(UserTag))) == (1, 1)


async def test_values_are_those_of_the_resource_and_the_definition(store: Store) -> None:
    desk = tags()
    system = ["hostname::web", f"staticIp::{NET}::fd00::5", "staticIp::other::10.0.0.1"]
    await store.write(lambda tx: desk.add(tx, "VmInstance", "vm", system=system))
    await store.write(lambda tx: desk.add(tx, "VmInstance", "other", system=["hostname::other"]))

    assert await store.read(lambda tx: desk.values(tx, "vm", HOSTNAME)) == [{"hostname": "web"}]
    addresses = await store.read(lambda tx: desk.values(tx, "vm", ADDRESS))
    assert sorted(values["address"] for values in addresses) == ["10.0.0.1", "fd00::5"]


async def test_resource_that_goes_has_no_tags(store: Store) -> None:
    desk = tags()
    await store.write(lambda tx: desk.add(tx, "VmInstance", "vm", system=["ha.always"], user=["mine"]))
    await store.write(lambda tx: desk.add(tx, "VmInstance", "other", user=["mine"]))

    await store.write(lambda tx: tx.delete(Resource, "vm"))

    assert await store.read(lambda tx: (tx.count(SystemTag), tx.count(UserTag))) == (0, 1)


LONG = TagDefinition("note::{text}", "VmInstance", doc="a note", max_bytes=20, total_bytes=30)
ONE = TagDefinition("owner::{name}", "VmInstance", doc="the owner", single=True, secret=True)


def refusal(call: object, code: str) -> str:
    assert callable(call)
    with pytest.raises(CairnError) as caught:
        call()
    assert caught.value.code == code
    return caught.value.message


def test_tags_are_bounded_in_bytes_each_and_together() -> None:
    bounded = Tags(RandomIds(seed=1), [LONG, ONE])
    bounded.check("VmInstance", ["note::" + "ä" * 7])
    assert "22 bytes" in refusal(lambda: bounded.check("VmInstance", ["note::" + "ä" * 8]), "tag.bad-value")
    many = [f"note::number{number}" for number in range(3)]
    assert "at most 30" in refusal(lambda: bounded.check("VmInstance", many), "tag.too-many-bytes")
    bounded.check("VmInstance", many[:2])


def test_a_tag_that_a_resource_has_once_is_given_once_and_its_secret_kept() -> None:
    bounded = Tags(RandomIds(seed=1), [LONG, ONE])
    bounded.check("VmInstance", ["owner::me", "owner::me"])
    assert "geheim" not in refusal(lambda: bounded.check("VmInstance", ["owner::me", "owner::geheim"]), "tag.only-one")


async def test_a_tag_is_checked_with_those_that_are_there(store: Store) -> None:
    bounded = Tags(RandomIds(seed=1), [LONG, ONE])
    await store.write(lambda tx: bounded.add(tx, "VmInstance", "vm", system=["owner::me"]))
    (there,) = await store.read(lambda tx: tx.find(SystemTag, resource_uuid="vm"))
    with pytest.raises(CairnError) as caught:
        await store.read(lambda tx: bounded.check_added(tx, "VmInstance", "vm", "owner::you"))
    assert caught.value.code == "tag.only-one"
    await store.read(lambda tx: bounded.check_added(tx, "VmInstance", "vm", "owner::you", instead_of=there.uuid))
    await store.read(lambda tx: bounded.check_added(tx, "VmInstance", "other", "owner::you"))


PIN = TagDefinition("pin::{pin}", "VmInstance", doc="a secret", single=True, sealed=True)
LOGIN = TagDefinition("login::{name}::{word}", "VmInstance", doc="another secret", sealed=True)


async def test_of_a_sealed_tag_only_what_it_is_lies_in_the_database(store: Store) -> None:
    desk = Tags(RandomIds(seed=1), [PIN, LOGIN])
    await store.write(lambda tx: desk.add(tx, "VmInstance", "vm", system=["pin::4711", "login::me::4711"]))
    rows = await store.read(lambda tx: tx.find(SystemTag, order_by="tag"))
    assert [(row.tag, row.text) for row in rows] == [("login::", "login::me::4711"), ("pin::", "pin::4711")]
    assert b"4711" not in store.content()
    assert all("4711" not in repr(row) for row in rows)
    assert await store.read(lambda tx: desk.values(tx, "vm", LOGIN)) == [{"name": "me", "word": "4711"}]


async def test_a_sealed_tag_is_the_same_changed_and_removed_by_its_whole_text(store: Store) -> None:
    desk = Tags(RandomIds(seed=1), [PIN, LOGIN])
    for _ in range(2):
        await store.write(lambda tx: desk.add(tx, "VmInstance", "vm", system=["login::me::a", "login::me::A"]))
    assert await store.read(lambda tx: tx.count(SystemTag)) == 2
    await store.write(lambda tx: desk.put(tx, "vm", PIN, pin="1"))
    await store.write(lambda tx: desk.put(tx, "vm", PIN, pin="2"))
    assert await store.read(lambda tx: desk.values(tx, "vm", PIN)) == [{"pin": "2"}]
    assert await store.write(lambda tx: desk.remove(tx, "vm", LOGIN)) == 2


def test_neither_a_sealed_value_nor_one_under_a_misspelt_name_is_shown_in_an_error() -> None:
    desk = Tags(RandomIds(seed=1), [PIN])
    assert "4711" not in refusal(lambda: desk.check("VmInstance", ["pin::4711", "pin::4712"]), "tag.only-one")
    for misspelt in ("Pin::4711", "pin:4711", "pin=4711", "pins::4711"):
        assert "4711" not in refusal(lambda tag=misspelt: desk.check("VmInstance", [tag]), "tag.unknown")


@pytest.mark.parametrize("pattern", ["{pin}", "pin"])
def test_a_sealed_tag_that_does_not_begin_with_what_it_is_is_a_mistake(pattern: str) -> None:
    with pytest.raises(TypeError, match="begins with what it is"):
        TagDefinition(pattern, "VmInstance", doc="a secret", sealed=True)


class Hook(TagHook):
    """Keeps what it is told; refuses the host name `no`."""

    tag = HOSTNAME

    def __init__(self) -> None:
        self.told: list[tuple[str, object, object]] = []

    def tag_set(self, tx: Tx, resource: str, values: Mapping[str, str], before: Mapping[str, str] | None) -> None:
        if values["hostname"] == "no":
            raise CairnError("test.no", "No.")
        self.told.append((resource, dict(values), before))

    def tag_removed(self, tx: Tx, resource: str, values: Mapping[str, str]) -> None:
        self.told.append((resource, dict(values), "removed"))


HELD = TagDefinition("hold::{reason}", "VmInstance", doc="why it is kept", single=True, protected=True)


async def test_hook_is_told_of_its_tags_alone_and_may_refuse(store: Store) -> None:
    hook = Hook()
    own = Tags(RandomIds(seed=1), [HOSTNAME, PLAIN], lambda: [hook])
    await store.write(
        lambda tx: own.add(tx, "VmInstance", "vm", system=["hostname::a", "ha.always"], user=["hostname::u"])
    )
    await store.write(lambda tx: own.add(tx, "VmInstance", "vm", system=["hostname::a"]))  # there already
    with pytest.raises(CairnError, match=r"test\.no"):
        await store.write(lambda tx: own.add(tx, "VmInstance", "vm", system=["hostname::no"]))
    assert await store.write(lambda tx: own.remove(tx, "vm", HOSTNAME)) == 1
    assert await store.write(lambda tx: own.remove(tx, "vm", HOSTNAME)) == 0

    assert hook.told == [("vm", {"hostname": "a"}, None), ("vm", {"hostname": "a"}, "removed")]
    assert [row.tag for row in await store.read(lambda tx: tx.find(SystemTag))] == ["ha.always"]


async def test_protected_tag_is_put_by_its_plugin_and_by_no_call(store: Store) -> None:
    own = Tags(RandomIds(seed=1), [HELD])
    with pytest.raises(CairnError, match=r"tag\.protected"):
        own.check("VmInstance", ["hold::x"])
    for reason in ("first", "second", "second"):
        await store.write(lambda tx, reason=reason: own.put(tx, "vm", HELD, reason=reason))  # type: ignore[misc]
    assert [row.tag for row in await store.read(lambda tx: tx.find(SystemTag))] == ["hold::second"]
    assert await store.read(lambda tx: own.values(tx, "vm", HELD)) == [{"reason": "second"}]
