"""The API has the names, verbs, paths, body keys and fields that clients of its kind know, and says what each call does.

`api_facts.json` holds what those clients send. Where we differ, it stands here.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec
import pytest
from msgspec import Struct

from cairn.bootstrap import load_plugins
from cairn.kernel.api import AnyApi
from cairn.kernel.settings import load


class Facts(Struct, frozen=True):
    """What is known of a call."""

    verb: str
    path: str
    key: str | None
    required: list[str]
    optional: list[str]


FACTS = msgspec.json.decode((Path(__file__).parent / "api_facts.json").read_bytes(), type=dict[str, Facts])

#: calls that only we have
OWN = {
    "ChangeAccountState",
    "DeleteBackupStorageDebt",
    "DeleteHostDebt",
    "DrainManagementNode",
    "ForgetEventDelivery",
    "GetCertificates",
    "GetFreeIp",
    "GetPlugins",
    "GetResourceQueue",
    "GetWorkflow",
    "GetWorkflows",
    "RemoveManagementNode",
    "RemoveStrayVm",
    "ResumeManagementNode",
    "RetryEventDelivery",
    "RotateAuthority",
    "RetryWorkflowRun",
    "SettleWorkflowRun",
}
#: fields that every call of its kind has
COMMON = {"systemTags", "userTags", "resourceUuid", "deleteMode"}
#: fields that only we have
MORE = {
    "AddKVMHost": {"hostKeyFingerprint", "privateKey"},
    "AddSftpBackupStorage": {"hostKeyFingerprint", "privateKey"},
    "AddSimulatorHost": {"url"},
    "CreateAccount": {"passwordForm"},
    "LogInByAccount": {"passwordForm"},
    "ReconnectBackupStorage": {"acceptMachine", "redeploy"},
    "ReconnectHost": {"acceptMachine", "redeploy"},
    "ReconnectSftpBackupStorage": {"acceptMachine", "redeploy"},
    "ResetGlobalConfig": {"category", "name"},
    "UpdateAccount": {"passwordForm"},
    "UpdateKVMHost": {"hostKeyFingerprint", "privateKey"},
    "UpdateSftpBackupStorage": {"hostKeyFingerprint", "privateKey"},
}
#: fields that others need not send and we cannot do without
NEEDED = {
    "AddSimulatorHost": {"url"},
    "CreateL2VxlanNetwork": {"zoneUuid"},
    "CreateVmInstance": {"imageUuid", "l3NetworkUuids"},
    "DetachNetworkServiceFromL3Network": {"networkServices"},
    "LogOut": {"sessionUuid"},
    "UpdateGlobalConfig": {"value"},
}
#: fields that others have to send and we can do without
SPARED = {
    "AddKVMHost": {"password", "username"},
    "AddSftpBackupStorage": {"password", "username"},
    "AddSimulatorHost": {"cpuCapacity", "memoryCapacity"},
    "CreateL2VxlanNetwork": {"poolUuid"},
}


@cache
def apis() -> dict[str, type[AnyApi]]:
    """All calls."""
    return {api.__name__: api for manifest in load_plugins(load({})).manifests for api in manifest.api}


def test_calls_are_known_or_our_own() -> None:
    assert set(apis()) == set(FACTS) | OWN
    assert not set(FACTS) & OWN


@pytest.mark.parametrize("name", sorted(FACTS))
def test_call_is_sent_as_its_clients_send_it(name: str) -> None:
    known, http = FACTS[name], apis()[name].http
    assert (http.verb, http.path, http.key) == (known.verb, known.path, known.key)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_fields_are_those_that_clients_send(name: str) -> None:
    fields = {field.encode_name: field.required for field in msgspec.structs.fields(apis()[name])}
    known = {*FACTS[name].required, *FACTS[name].optional}
    assert set(fields) - known - COMMON == MORE.get(name, set())
    required = {field for field, needed in fields.items() if needed}
    assert required - set(FACTS[name].required) == NEEDED.get(name, set())
    assert set(FACTS[name].required) - required == SPARED.get(name, set())


@pytest.mark.parametrize("name", sorted(apis()))
def test_call_says_what_it_does(name: str) -> None:
    api = apis()[name]
    assert api.__doc__, "no docstring"
    assert not api.__doc__.startswith(f"{name}("), "no docstring of its own"
