"""The metadata of a VM at 169.254.169.254, in the shapes of EC2 and of cloud-init's NoCloud. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from cairn.agents.protocol.network import MetadataEntry

_VERSIONS = ("1.0", "2007-01-19", "2009-04-04", "latest")


class Answer(Struct, frozen=True):
    """The body of an answer; None: there is nothing at that path (404)."""

    body: bytes | None
    content_type: str = "text/plain; charset=utf-8"


NOT_FOUND = Answer(None)


def answer(vm: MetadataEntry, path: str) -> Answer:
    """The answer to `vm` asking for `path` (begins with a slash; a slash at the end does not matter)."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case []:
            return _text("\n".join(_VERSIONS))
        case [("meta-data" | "user-data" | "vendor-data" | "network-config") as document]:
            return _nocloud(vm, document)
        case [version] if version in _VERSIONS:
            return _text("meta-data\nuser-data" if vm.user_data is not None else "meta-data")
        case [version, "user-data"] if version in _VERSIONS:
            return Answer(vm.user_data, "application/octet-stream")
        case [version, "meta-data", *rest] if version in _VERSIONS:
            return _walk(_tree(vm), rest)
        case _:
            return NOT_FOUND


def _nocloud(vm: MetadataEntry, document: str) -> Answer:
    match document:
        case "meta-data":
            # JSON is YAML, and needs no care with quoting.
            data = {"instance-id": vm.vm, "local-hostname": vm.hostname, "public-keys": vm.ssh_keys}
            return Answer(msgspec.json.encode(data), "text/yaml")
        case "user-data":
            return Answer(vm.user_data or b"", "application/octet-stream")
        case "vendor-data":
            return _text("")
        case _:
            return NOT_FOUND


def _text(text: str) -> Answer:
    return Answer(text.encode())


_Tree = dict[str, "str | _Tree"]


def _tree(vm: MetadataEntry) -> _Tree:
    tree: _Tree = {
        "hostname": vm.hostname,
        "instance-id": vm.vm,
        "local-hostname": vm.hostname,
        "local-ipv4": vm.ip,
    }
    if vm.ssh_keys:
        tree["public-keys"] = {str(i): {"openssh-key": key} for i, key in enumerate(vm.ssh_keys)}
    return tree


def _walk(tree: _Tree, path: list[str]) -> Answer:
    node: str | _Tree = tree
    for part in path:
        if isinstance(node, str) or part not in node:
            return NOT_FOUND
        node = node[part]
    if isinstance(node, str):
        return _text(node)
    if path == ["public-keys"]:
        return _text("\n".join(f"{i}=key-{i}" for i in node))
    return _text("\n".join(name if isinstance(child, str) else f"{name}/" for name, child in node.items()))
