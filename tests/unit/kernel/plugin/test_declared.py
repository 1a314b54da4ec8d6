from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import pytest

from cairn.bootstrap import load_plugins
from cairn.kernel.error import CairnError
from cairn.kernel.plugin.declared import check_declared, check_scripts
from cairn.kernel.plugin.manifest import Loaded, Manifest
from cairn.kernel.settings import load

LOADED = load_plugins(load({}, plugins_extra="cairn_audit.manifest"))


def manifest(name: str) -> Manifest:
    return next(one for one in LOADED.manifests if one.name == name)


def test_what_is_shipped_fits_together() -> None:
    check_declared(LOADED)
    check_scripts(LOADED)


def twice(package: str, field: str) -> Loaded:
    """What is shipped, and one thing of a package once more, as another object."""
    own = manifest(package)
    fake = Manifest(package=own.package, doc="again", name="again")
    nothing: dict[str, object] = dict.fromkeys(own.contents.__struct_fields__, ())
    copies = tuple(_copy(one) for one in getattr(own.contents, field))
    object.__setattr__(fake, "contents", msgspec.structs.replace(own.contents, **(nothing | {field: copies})))
    return replace(LOADED, manifests=(*LOADED.manifests, fake))


def _copy(thing: object) -> object:
    if isinstance(thing, type):
        return thing
    other = object.__new__(type(thing))
    other.__dict__.update(thing.__dict__)
    return other


@pytest.mark.parametrize(
    ("package", "field", "sentence"),
    [
        ("audit", "settings", "the setting audit"),
        ("audit", "tags", "the system tag ticket"),
        ("audit", "steps", "the step audit."),
        ("audit", "api", "the address "),
    ],
)
def test_what_is_declared_twice_is_named(package: str, field: str, sentence: str) -> None:
    with pytest.raises(TypeError, match=rf"{sentence}.* is declared twice"):
        check_declared(twice(package, field))


def test_plugin_with_tables_and_without_scripts_is_named_with_its_tables() -> None:
    own = manifest("audit")
    fake = Manifest(package="cairn.plugins", doc="no scripts", name="bare")
    object.__setattr__(fake, "contents", own.contents)
    loaded = Loaded(manifests=(fake,), plugins=frozenset({"bare"}))
    with pytest.raises(
        TypeError, match="makes the table audit_note, audit_seal: `cairn migrations revision` writes one"
    ):
        check_scripts(loaded)
    check_scripts(replace(loaded, plugins=frozenset()))  # the core's scripts are together elsewhere


def test_an_entity_that_refers_to_a_missing_table_is_refused() -> None:
    only = replace(LOADED, manifests=(manifest("audit"),))
    with pytest.raises(CairnError, match="vm_instance"):
        partial(check_declared, only)()


def test_call_about_anothers_resource_takes_its_turn_there(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = next(one for one in manifest("audit").contents.api if one.__name__ == "HoldVmInstance")
    monkeypatch.setattr(hold, "takes_turn", True)
    with pytest.raises(TypeError, match=r"HoldVmInstance is about VmInstance.*`audit`.*Let its tag begin with `vm\.`"):
        check_declared(LOADED)


def test_scripts_may_be_quoted_as_alembic_quotes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0001_first.py").write_text("op.create_table('audit_note')\nop.create_table('audit_seal')")
    monkeypatch.setattr(Manifest, "migrations", tmp_path)
    check_scripts(replace(LOADED, manifests=(manifest("audit"),)))
