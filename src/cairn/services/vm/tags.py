"""The system tags that the VM service understands."""

from __future__ import annotations

import base64
import binascii
import re

from msgspec import Struct

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


class ToldToGuest(Struct, frozen=True, kw_only=True):
    """The facts for a VM's guest that come from the VM's tags."""

    hostname: str
    user_data: str | None = None
    ssh_keys: list[str] = []


def from_tags(tags: list[str], hostname: str) -> ToldToGuest:
    """Read the facts from `tags`; `hostname` is used where no tag gives one."""
    user_data: str | None = None
    keys: list[str] = []
    for tag in tags:
        if (values := HOSTNAME.parse(tag)) is not None:
            hostname = values["hostname"]
        elif (values := USER_DATA.parse(tag)) is not None:
            user_data = base64.b64decode(values["userdata"]).decode("utf-8", "replace")
        elif (values := SSH_KEY.parse(tag)) is not None:
            keys.append(values["sshkey"])
    return ToldToGuest(hostname=hostname, user_data=user_data, ssh_keys=keys)


def told_to_guest(tx: Tx, vm: VmInstance) -> ToldToGuest:
    """Read the facts from a VM's tags as they are now. Without a tag the host name stays, even if the VM was renamed."""
    return from_tags([row.tag for row in tx.find(SystemTag, resource_uuid=vm.uuid)], vm.hostname)


def hostname_of(name: str) -> str:
    """Make a host name of the VM's name."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
    return slug or "vm"
