"""The machines of an Ansible run, and the inventory file that tells Ansible of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.ssh import SshTarget, ssh_options
from cairn.kernel.error import CairnError

#: A variable for a playbook.
Variable = str | int | float | bool | None | Sequence["Variable"] | Mapping[str, "Variable"]

#: how long a key may be, with its quotes, that nothing marks as one (YAML 1.2, 7.4.2)
_KEY_CHARACTERS = 1024


class Machine(Struct, frozen=True, kw_only=True):
    """A machine that a run works on."""

    uuid: str  #: names it in the run, and its pinned host keys
    target: SshTarget
    variables: Mapping[str, Variable] = {}  #: variables that only this machine gets


class OperatorRoles(Struct, frozen=True, kw_only=True):
    """An operator's own part in every run.

    The folder may hold task files ``pre.yml`` and ``post.yml``, and roles. Before our own roles run first the roles
    in `before`, then ``pre.yml``; after them ``post.yml``, then the roles in `after`.
    """

    path: Path
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def variables(self) -> dict[str, Variable]:
        """The variables that tell the playbook of these roles.

        Raises:
            CairnError: ``deploy.no-operator-roles`` if the folder or a role named is not there.
        """
        if not self.path.is_dir():
            raise _no_roles(f"the folder {self.path} does not exist")
        for role in (*self.before, *self.after):
            if not (self.path / role / "tasks").is_dir():
                raise _no_roles(f"{self.path} has no role {role!r} (a folder of that name with a folder tasks in it)")
        return {
            "operator_roles_before": list(self.before),
            "operator_roles_after": list(self.after),
            "operator_tasks_before": self._task_file("pre.yml"),
            "operator_tasks_after": self._task_file("post.yml"),
        }

    def _task_file(self, name: str) -> list[str]:
        path = (self.path / name).absolute()
        return [str(path)] if path.is_file() else []


def inventory_text(
    machines: Sequence[Machine], variables: Mapping[str, Variable], known_hosts: KnownHosts, remote_python: str
) -> str:
    """The inventory file: every machine with its login, pinned keys and variables. Holds secrets.

    Args:
        machines: in the order in which Ansible takes them.
        variables: for all machines; a machine's own win.
        known_hosts: where the machines' host keys are pinned.
        remote_python: the Python on machines.
    """
    hosts = {machine.uuid: _host_variables(machine, known_hosts, remote_python) for machine in machines}
    return plain_yaml({"all": {"hosts": hosts, "vars": variables}})


def plain_yaml(value: Variable) -> str:
    """`value` as YAML in which Ansible takes all text literally: a password may hold ``{{``."""
    match value:
        case str():
            return f"!unsafe {_quoted(value)}"
        case Mapping():
            return "{" + ", ".join(f"{_key(str(key))}: {plain_yaml(item)}" for key, item in value.items()) + "}"
        case bool() | int() | float() | None:
            return json.dumps(value)
        case _:
            return "[" + ", ".join(plain_yaml(item) for item in value) + "]"


def _key(text: str) -> str:
    """A key of a mapping. YAML takes a longer one for text unless a question mark says what it is."""
    quoted = _quoted(text)
    return quoted if len(quoted) <= _KEY_CHARACTERS else f"? {quoted} "


def _quoted(text: str) -> str:
    """Quote for YAML. JSON's quoting would not do: YAML has no surrogate pairs and allows no raw control characters."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return '"' + "".join(plain) + '"'


def _host_variables(machine: Machine, known_hosts: KnownHosts, remote_python: str) -> dict[str, Variable]:
    target = machine.target
    options = ssh_options(target, machine.uuid, known_hosts)
    login: dict[str, Variable] = {
        "ansible_host": target.host,
        "ansible_port": target.port,
        "ansible_user": target.username,
        "ansible_python_interpreter": remote_python,
        "ansible_ssh_common_args": " ".join(f"'{part}'" if " " in part else part for part in options),
        "ansible_become": target.username != "root",
    }
    if target.password is not None:
        login["ansible_become_password"] = target.password
    if target.private_key_path is not None:
        login["ansible_ssh_private_key_file"] = str(target.private_key_path)
    else:
        login["ansible_password"] = target.password or ""
    return {**machine.variables, **login}


def _no_roles(why: str) -> CairnError:
    return CairnError(
        "deploy.no-operator-roles", f"The operator's own Ansible roles cannot be used: {why}. Correct the setting."
    )
