"""The system tags that the VM service understands."""

from __future__ import annotations

import base64
import re

from msgspec import Struct

from cairn.kernel.api import LONGEST_TAG
from cairn.kernel.store.store import Tx
from cairn.kernel.tag import SystemTag, TagDefinition
from cairn.services.vm.model import VmInstance

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/=]")
_KEY = re.compile(r"(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\x00-\x1f\x7f]*)?")

#: What a guest is told goes to its host at each start, so it is bounded, in bytes: user data as it is (before base64), ...
MAX_USER_DATA = 65_536
#: ... and all keys together, with the names of their tags.
MAX_SSH_KEYS = 32_768


def _host_name(values: dict[str, str]) -> str | None:
    labels = values["hostname"].split(".")
    if len(values["hostname"]) <= 253 and all(_LABEL.fullmatch(label) for label in labels):
        return None
    return "a host name as in RFC 1123 would fit: letters, digits and dashes, at most 63 a label"


def _user_data(values: dict[str, str]) -> str | None:
    try:
        data = base64.b64decode(values["userdata"], validate=True)
    except ValueError:
        return f"{_no_base64(values['userdata'])}; base64 on one line would fit, as `base64 -w0 FILE` writes it"
    if len(data) > MAX_USER_DATA:
        return f"it is {len(data)} bytes of user data, and at most {MAX_USER_DATA} would fit"
    return None


def _no_base64(text: str) -> str:
    """What is wrong with it, without a word of it: it may carry secrets."""
    wrong = next((number for number, character in enumerate(text, 1) if not _BASE64.fullmatch(character)), None)
    return (
        f"its character {wrong} is none of base64's"
        if wrong
        else f"its {len(text)} characters are no whole groups of four"
    )


def _ssh_key(values: dict[str, str]) -> str | None:
    fits = _KEY.fullmatch(values["sshkey"])
    return None if fits else "a public key as in authorized_keys would fit"


HOSTNAME = TagDefinition(
    "hostname::{hostname}", "VmInstance", doc="the guest's host name", check=_host_name, single=True
)
USER_DATA = TagDefinition(
    "userdata::{userdata}",
    "VmInstance",
    doc="what cloud-init is given as user data, in base64",
    check=_user_data,
    max_bytes=LONGEST_TAG,
    single=True,
    sealed=True,
)
SSH_KEY = TagDefinition(
    "sshkey::{sshkey}",
    "VmInstance",
    doc="a public key that may log in",
    check=_ssh_key,
    max_bytes=16_384,
    total_bytes=MAX_SSH_KEYS,
)


class ToldToGuest(Struct, frozen=True, kw_only=True):
    """The facts for a VM's guest that come from the VM's tags."""

    hostname: str
    user_data: bytes | None = None  #: byte for byte as its author wrote it: it may be compressed
    ssh_keys: list[str] = []


def from_tags(tags: list[str], hostname: str) -> ToldToGuest:
    """Read the facts from `tags`; `hostname` is used where no tag gives one."""
    user_data: bytes | None = None
    keys: list[str] = []
    for tag in tags:
        if (values := HOSTNAME.parse(tag)) is not None:
            hostname = values["hostname"]
        elif (values := USER_DATA.parse(tag)) is not None:
            user_data = base64.b64decode(values["userdata"])
        elif (values := SSH_KEY.parse(tag)) is not None:
            keys.append(values["sshkey"])
    return ToldToGuest(hostname=hostname, user_data=user_data, ssh_keys=keys)


def told_to_guest(tx: Tx, vm: VmInstance) -> ToldToGuest:
    """Read the facts from a VM's tags as they are now. Without a tag the host name stays, even if the VM was renamed."""
    return from_tags([row.text for row in tx.find(SystemTag, resource_uuid=vm.uuid)], vm.hostname)


def hostname_of(name: str) -> str:
    """Make a host name of the VM's name."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-")
    return slug or "vm"
