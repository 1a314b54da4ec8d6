"""What is called a secret is one: sealed where it lies, and marked in every call that carries it."""

from __future__ import annotations

import re
from typing import get_type_hints

import msgspec
import pytest

from cairn.kernel.api import AnyApi, is_secret
from cairn.kernel.store.record import Kind, Record, info
from cairn.testing.cloud import parts_of

LOADED, SCHEMA = parts_of("", "")
_NAMES = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|credential|private_key|key|request|data)(_|$)")
#: fields that are called so, and hold no secret
OPEN = {
    ("account", "password_hash"),  # argon2id; hidden
    ("flow_run", "queue_key"),
    ("sealed_column", "seal_key"),  # the id of a key
    ("job", "cancel_requested"),
    ("kvm_host", "host_key_fingerprint"),  # of a public key
    ("sftp_backup_storage", "host_key_fingerprint"),
    ("job", "ring_key"),  # a resource's uuid
}


@pytest.mark.parametrize("record", SCHEMA.records, ids=lambda record: record.__name__)
def test_fields_named_like_secrets_are_sealed(record: type[Record]) -> None:
    table = record.meta.table
    bare = [
        field.name
        for field in info(record).fields
        if _NAMES.search(field.name) and field.kind in (Kind.TEXT, Kind.BYTES, Kind.JSON) and not field.sealed
    ]
    assert [name for name in bare if (table, name) not in OPEN] == [], "mark it Sealed(), or say here why it is none"


@pytest.mark.parametrize("api", LOADED.api, ids=lambda api: str(api.__name__))
def test_parameters_named_like_secrets_are_secret(api: type[AnyApi]) -> None:
    hints = get_type_hints(api, include_extras=True)
    secret = re.compile(r"(^|_)(password|passwd|passphrase|secret|token|credential|private_key|session)(_uuid)?$")
    bare = [f.name for f in msgspec.structs.fields(api) if secret.search(f.name) and not is_secret(hints[f.name])]
    assert bare == []


def test_what_a_call_carries_is_sealed_as_a_whole() -> None:
    sealed = {f"{table}.{field.name}" for table, one in SCHEMA.by_table.items() for field in one.fields if field.sealed}
    assert {"job.request", "flow_run.data", "kvm_host.password", "kvm_host.private_key"} <= sealed
