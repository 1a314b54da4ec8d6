#!/usr/bin/python3
"""Ansible module: makes folders and files with the given modes and contents, all in one round trip.

Runs on the managed machine with its own Python; imports nothing of cairn. Contents count as secrets: Ansible keeps
them out of its output.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping, Sequence


def ensure_folder(path: str, mode: int) -> bool:
    """Make the folder and its parents, or correct its mode. Answers whether anything was changed."""
    if not os.path.isdir(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mkdir(path, 0o700)
    elif stat.S_IMODE(os.stat(path).st_mode) == mode:
        return False
    os.chmod(path, mode)
    return True


def ensure_file(path: str, mode: int, content: bytes) -> bool:
    """Make the file, or correct its content or mode, in one moment. Answers whether anything was changed."""
    if _is_as_wanted(path, mode, content):
        return False
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".cairn-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(descriptor, mode)
    os.replace(temporary, path)
    return True


def _is_as_wanted(path: str, mode: int, content: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode and file.read() == content
    except FileNotFoundError:
        return False


def ensure_all(folders: Sequence[Mapping[str, str]], files: Sequence[Mapping[str, str]]) -> list[str]:
    """Make everything, folders first; answers the paths that were changed."""
    changed = [f["path"] for f in folders if ensure_folder(f["path"], int(f["mode"], 8))]
    changed += [f["path"] for f in files if ensure_file(f["path"], int(f["mode"], 8), f["content"].encode())]
    return changed


def main() -> None:
    """Read the module's parameters, make what they say, and answer Ansible."""
    from ansible.module_utils.basic import AnsibleModule  # type: ignore[import-untyped]

    path = {"path": {"type": "path", "required": True}, "mode": {"type": "str", "required": True}}
    content = {"content": {"type": "str", "required": True, "no_log": True}}
    module = AnsibleModule(
        argument_spec={
            "folders": {"type": "list", "elements": "dict", "options": path, "default": []},
            "files": {"type": "list", "elements": "dict", "options": {**path, **content}, "default": []},
        }
    )
    try:
        changed = ensure_all(module.params["folders"], module.params["files"])
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    module.exit_json(changed=bool(changed), paths=changed)


if __name__ == "__main__":
    main()
