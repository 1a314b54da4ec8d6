"""Every name and description that the API takes keeps one rule, whatever it is of."""

from __future__ import annotations

import msgspec
import pytest

from cairn.bootstrap import load_plugins
from cairn.kernel.api import ApiCommand, Description, Name
from cairn.kernel.settings import load

APIS = [api for manifest in load_plugins(load({})).manifests for api in manifest.api]
COMMANDS: dict[str, type[ApiCommand[object]]] = {api.__name__: api for api in APIS if issubclass(api, ApiCommand)}
#: settings are looked up by their names
LOOKED_UP = {"ResetGlobalConfig", "UpdateGlobalConfig"}


def _fields(api: type[ApiCommand[object]]) -> list[tuple[str, object]]:
    return [(f.encode_name, f.type) for f in msgspec.structs.fields(api) if f.encode_name in ("name", "description")]


@pytest.mark.parametrize("api", sorted(COMMANDS.keys() - LOOKED_UP))
@pytest.mark.parametrize("text", ["web\x01", "\x1b[2J", "web\uffff", "web\u2028", "web\x00"])
def test_text_that_cannot_be_written_is_refused_as_a_name_and_as_a_description(api: str, text: str) -> None:
    for field, hint in _fields(COMMANDS[api]):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, hint)
            pytest.fail(f"{api} takes {text!r} as {field}")


def test_a_name_is_one_line_and_a_description_may_be_several() -> None:
    assert msgspec.convert("Übung 😀", Name) == "Übung 😀"
    assert msgspec.convert("one\ntwo\tthree", Description) == "one\ntwo\tthree"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("one\ntwo", Name)
