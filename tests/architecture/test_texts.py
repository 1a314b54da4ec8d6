"""Every text of a call says what it may hold, or stands here with who looks at it instead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec import inspect

from cairn.kernel.api import AnyApi, secret_fields
from cairn.kernel.words import END
from cairn.testing.cloud import parts_of

LOADED, _ = parts_of("", "")
#: what looks at texts without a pattern, by the name of the field
LOOKED_AT = {
    **dict.fromkeys(("dns", "end_ip", "gateway", "ip", "netmask", "start", "start_ip"), "it is read as an address"),
    "network_cidr": "it is read as a network",
    "system_tags": "each definition of a tag has bounds of its own",
}
#: and of single calls
LOOKED_AT_IN = {
    ("AddImage", "format"): "it is one of a few",
    ("CreateSystemTag", "tag"): "each definition of a tag has bounds of its own",
    ("UpdateSystemTag", "tag"): "each definition of a tag has bounds of its own",
    ("UpdateGlobalConfig", "value"): "each setting has bounds of its own",
    **dict.fromkeys(
        (
            ("CreateSystemTag", "resource_type"),
            ("CreateUserTag", "resource_type"),
            ("GetResourceQueue", "prefix"),
            ("GetWorkflow", "name"),
            ("LogInByAccount", "account_name"),
            ("ResetGlobalConfig", "category"),
            ("ResetGlobalConfig", "name"),
            ("UpdateGlobalConfig", "category"),
            ("UpdateGlobalConfig", "name"),
        ),
        "it is looked up and never kept",
    ),
}


def texts() -> Iterator[tuple[type[AnyApi], inspect.Field, inspect.StrType]]:
    """The texts of calls; secrets are taken as they are given, byte for byte."""
    for api in LOADED.api:
        info = inspect.type_info(api)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            if field.encode_name not in secret_fields(api):
                yield from ((api, field, text) for text in _of(field.type))


def _of(kind: inspect.Type) -> Iterator[inspect.StrType]:
    match kind:
        case inspect.StrType():
            yield kind
        case inspect.Metadata():
            yield from _of(kind.type)
        case inspect.UnionType():
            for one in kind.types:
                yield from _of(one)
        case inspect.ListType():
            yield from _of(kind.item_type)
        case _:
            pass


def test_text_without_a_pattern_is_looked_at_by_somebody() -> None:
    without = {(api.__name__, field.name) for api, field, text in texts() if text.pattern is None}
    assert {pair for pair in without if pair[1] not in LOOKED_AT} == set(LOOKED_AT_IN)
    assert {name for _, name in without} >= set(LOOKED_AT)


@pytest.mark.parametrize("pattern", sorted({text.pattern for *_, text in texts() if text.pattern is not None}))
def test_pattern_holds_for_the_whole_text(pattern: str) -> None:
    assert pattern.startswith("^")
    assert pattern.endswith(END), "a line end behind it would be taken as well"
