"""Who may see what is decided by hand: each entity's answer stands here, so that a new one is looked at by somebody."""

from __future__ import annotations

import pytest

from cairn.bootstrap import load_plugins
from cairn.kernel.api import Access, ApiCommand
from cairn.kernel.assembly import make_schema
from cairn.kernel.query.accounts import for_accounts
from cairn.kernel.query.catalog import Catalog, Entity, TagTables
from cairn.kernel.settings import load

LOADED = load_plugins(load({}))
EVERYTHING = Catalog(make_schema(LOADED), TagTables())
ACCOUNTS = for_accounts(EVERYTHING)

WHO = {
    "each account what it owns": (
        "Account Image ImageBackupStorageRef Job Resource SystemTag UserTag VmInstance VmNic Volume"
    ),
    "every account": (
        "BackupStorage Cluster DiskOffering Host InstanceOffering IpRange L2Network L3Network NetworkServiceL3NetworkRef "
        "NetworkServiceProvider PrimaryStorage Zone"
    ),
    "administrators": (
        "BackupStorageDebt Event EventDelivery FlatDhcpServer GlobalConfig HostDebt HostFault ImageCache KVMHost "
        "LocalStorageHostRef LocalStorageResourceRef "
        "ManagementNode SftpBackupStorage SimulatorBackupStorage SimulatorHost StrayVm UsedIp WorkflowRun"
    ),
}
OWNED, PUBLIC, ADMIN = (names.split() for names in WHO.values())
#: all that accounts see of what is not theirs, tags and joins apart; what is not here is for administrators
FIELDS = {
    "BackupStorage": "attachedZoneUuids createDate description lastOpDate name state status type uuid",
    "Cluster": "architecture createDate description hypervisorType lastOpDate name state type uuid zoneUuid",
    "DiskOffering": "allocatorStrategy createDate description diskSize lastOpDate name sortKey state type uuid",
    "Host": (
        "architecture clusterUuid createDate description hypervisorType lastOpDate name state status uuid zoneUuid"
    ),
    "InstanceOffering": (
        "allocatorStrategy cpuNum cpuSpeed createDate description lastOpDate memorySize name reservedMemorySize sortKey "
        "state type uuid"
    ),
    "IpRange": (
        "createDate description endIp gateway ipRangeType ipVersion l3NetworkUuid lastOpDate name netmask networkCidr "
        "prefixLen startIp uuid"
    ),
    "L2Network": "attachedClusterUuids createDate description lastOpDate name type uuid vSwitchType zoneUuid",
    "L3Network": (
        "category createDate description dns dnsDomain ipRanges ipVersion l2NetworkUuid lastOpDate name networkServices "
        "state system type uuid zoneUuid"
    ),
    "NetworkServiceL3NetworkRef": "l3NetworkUuid networkServiceProviderUuid networkServiceType",
    "NetworkServiceProvider": "createDate description lastOpDate name networkServiceTypes type uuid",
    "PrimaryStorage": "attachedClusterUuids createDate description lastOpDate name state status type uuid zoneUuid",
    "Zone": "createDate description isDefault lastOpDate name state type uuid",
}


def _answer(entity: Entity) -> list[str]:
    if entity.admin_only:
        return ADMIN
    return OWNED if entity.owned else PUBLIC


@pytest.mark.parametrize("name", sorted(EVERYTHING.entities))
def test_each_entity_says_who_may_see_it(name: str) -> None:
    assert name in _answer(EVERYTHING.entities[name]), "decide who may see it, and write it down here"


def test_nothing_is_written_down_that_is_not_there() -> None:
    assert sorted([*OWNED, *PUBLIC, *ADMIN]) == sorted(EVERYTHING.entities)


def test_entities_for_administrators_are_not_there_for_accounts() -> None:
    assert sorted(ACCOUNTS.entities) == sorted([*OWNED, *PUBLIC])


@pytest.mark.parametrize("name", PUBLIC)
def test_accounts_see_these_fields_of_what_is_not_theirs(name: str) -> None:
    assert sorted(ACCOUNTS.shown(ACCOUNTS.entities[name])) == FIELDS[name].split()


def test_what_accounts_may_call_is_answered_with_what_they_see() -> None:
    calls = [api for api in LOADED.api if issubclass(api, ApiCommand) and api.access is not Access.ADMIN]
    assert [api.__name__ for api in calls if api.entity is not None and api.entity not in ACCOUNTS.entities] == []
