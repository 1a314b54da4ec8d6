from __future__ import annotations

import pytest

from cairn.agents.tls import is_management_node


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (((("commonName", "cairn-management-node"),),), True),
        (((("commonName", "n1"),), (("organizationalUnitName", "cairn-management-node"),)), True),
        (((("organizationName", "cairn-management-node"),), (("commonName", "host1"),)), False),
        (((("commonName", "cairn-management-node.evil"),),), False),
        ((), False),
    ],
)
def test_only_the_management_nodes_certificate_is_recognised(subject: object, *, expected: bool) -> None:
    assert is_management_node({"subject": subject}) is expected


def test_no_certificate_is_not_the_management_nodes() -> None:
    assert not is_management_node(None)
