from __future__ import annotations

import pytest

from cairn.kernel.deploy.model import AgentPair, SharedAuthority, SshKeyPair
from cairn.kernel.store.record import Record, info


@pytest.mark.parametrize("record", [SharedAuthority, AgentPair, SshKeyPair])
def test_keys_are_sealed_and_certificates_are_not(record: type[Record]) -> None:
    sealed = {field.name for field in info(record).fields if field.sealed}
    assert sealed
    assert all(name.endswith("private_key") for name in sealed)


def test_a_row_does_not_show_its_key_when_it_is_printed() -> None:
    assert "hunter2" not in repr(SshKeyPair(private_key="hunter2"))
