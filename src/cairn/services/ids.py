"""Ids of resources, told apart by the type checker: a host's uuid given where a VM's belongs is an error before it runs.

Each is a plain text at run time, in records, messages and journals.
"""

from __future__ import annotations

from typing import NewType

AccountId = NewType("AccountId", str)
BackupStorageId = NewType("BackupStorageId", str)
ClusterId = NewType("ClusterId", str)
HostId = NewType("HostId", str)
ImageId = NewType("ImageId", str)
L2NetworkId = NewType("L2NetworkId", str)
L3NetworkId = NewType("L3NetworkId", str)
PrimaryStorageId = NewType("PrimaryStorageId", str)
VmId = NewType("VmId", str)
VolumeId = NewType("VolumeId", str)
ZoneId = NewType("ZoneId", str)
