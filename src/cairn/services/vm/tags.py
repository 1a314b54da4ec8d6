"""The system tags that the VM service understands."""

from __future__ import annotations

import base64
import binascii
import re

from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag, TagDefinition
from cairn.services.vm.model import VmInstance

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_MAX_USER_DATA = 65536


def _host_name(values: dict[str, str]) -> str | None:
    labels = values["hostname"].split(".")
    if len(values["hostname"]) <= 253 and all(_LABEL.fullmatch(label) for label in labels):
        return None
    return "a host name as in RFC 1123 would fit: letters, digits and dashes, at most 63 a label"


def _user_data(values: dict[str, str]) -> str | None:
    try:
        text = base64.b64decode(values["userdata"], validate=True)
    except binascii.Error:
        return "base64 would fit"
    return None if len(text) <= _MAX_USER_DATA else f"at most {_MAX_USER_DATA} bytes would fit"


def _ssh_key(values: dict[str, str]) -> str | None:
    fits = re.match(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/=]+", values["sshkey"])
    return None if fits else "a public key as in authorized_keys would fit"


HOSTNAME = TagDefinition("hostname::{hostname}", "VmInstance", doc="the guest's host name", check=_host_name)
USER_DATA = TagDefinition(
    "userdata::{userdata}", "VmInstance", doc="what cloud-init is given as user data, in base64", check=_user_data
)
SSH_KEY = TagDefinition("sshkey::{sshkey}", "VmInstance", doc="a public key that may log in", check=_ssh_key)

ALL = (HOSTNAME, USER_DATA, SSH_KEY)


def from_tags(tags: list[str], name: str) -> tuple[str, str | None, list[str]]:
    """Host name (made of the VM's name when no tag gives one), user data (decoded) and SSH keys of a VM's tags."""
    hostname = _slug(name)
    user_data: str | None = None
    keys: list[str] = []
    for tag in tags:
        if (values := HOSTNAME.parse(tag)) is not None:
            hostname = values["hostname"]
        elif (values := USER_DATA.parse(tag)) is not None:
            user_data = base64.b64decode(values["userdata"]).decode("utf-8", "replace")
        elif (values := SSH_KEY.parse(tag)) is not None:
            keys.append(values["sshkey"])
    return hostname, user_data, keys


def told_to_guest(tx: Tx, vm: VmInstance) -> tuple[str, str | None, list[str]]:
    """What a VM's tags say now, as `from_tags`. Without a tag for it the host name stays: renaming a VM renames no guest."""
    tags = [row.tag for row in tx.find(SystemTag, resource_uuid=vm.uuid)]
    hostname, user_data, keys = from_tags(tags, vm.name)
    return hostname if any(HOSTNAME.parse(tag) for tag in tags) else vm.hostname, user_data, keys


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
    return slug or "vm"
