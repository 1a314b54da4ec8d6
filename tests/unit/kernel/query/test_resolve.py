from __future__ import annotations

import pytest
from tests.unit.kernel import sample

from cairn.kernel.error import CairnError
from cairn.kernel.query.catalog import Catalog
from cairn.kernel.query.condition import parse
from cairn.kernel.query.resolve import resolve


def refused(entity: str, text: str) -> CairnError:
    catalog = Catalog(sample.schema(), sample.TAGS)
    with pytest.raises(CairnError) as caught:
        resolve(catalog, catalog.entities[entity], parse(text))
    assert caught.value.code == "query.unknown-field"
    return caught.value


def test_an_unknown_field_is_answered_with_its_place_the_nearest_names_and_all_that_fit() -> None:
    error = refused("VmInstance", "vmNics.ipp=1")
    assert error.details["position"] == 7
    assert error.details["found"] == "ipp"
    assert error.details["nearest"] == ["ip"]
    assert "VmNic has no such field; fields are" in error.message
    assert "joins (with a dot behind) are l3Network, vm" in error.message
    assert "Did you mean 'ip'?" in error.message


def test_an_unknown_join_is_answered_with_the_joins_there_are() -> None:
    error = refused("VmInstance", "hosst.name=1")
    assert error.details["nearest"] == ["host"]
    assert "VmInstance has no such join; joins are host, rootVolume, vmNics, volumes" in error.message


def test_a_join_without_a_field_behind_it_says_so() -> None:
    assert "vmNics leads to VmNic: put a dot" in refused("VmInstance", "vmNics=1").message


def test_a_field_with_something_behind_it_says_so() -> None:
    error = refused("VmInstance", "name.length=1")
    assert "name is a field of VmInstance, nothing lies behind it" in error.message


def test_tables_that_are_internal_cannot_be_reached() -> None:
    assert refused("Storage", "storageHost.uuid=1").details["found"] == "storageHost"


def test_the_last_of_several_wrong_names_is_not_what_is_named() -> None:
    assert refused("VmInstance", "x.y.z=1").details["position"] == 0
