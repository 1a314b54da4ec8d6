from __future__ import annotations

from pathlib import Path
from typing import TypeAlias, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cairn.kernel.deploy.inventory import Machine, OperatorRoles, Variable, inventory_text, plain_yaml
from cairn.kernel.deploy.known_hosts import KnownHosts
from cairn.kernel.deploy.ssh import SshTarget
from cairn.kernel.error import CairnError
from cairn.kernel.store.store import Store

Loaded: TypeAlias = "str | int | float | bool | list[Loaded] | dict[str, Loaded] | None"


class UnsafeLoader(yaml.SafeLoader):
    """Takes ``!unsafe`` text as Ansible does: literally."""


def literally(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


UnsafeLoader.add_constructor("!unsafe", literally)

text = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


def load(content: str) -> Loaded:
    loaded: Loaded = yaml.load(content, Loader=UnsafeLoader)
    return loaded


def host_variables(machine: Machine, tmp_path: Path) -> dict[str, Loaded]:
    loaded = load(
        inventory_text(
            [machine], {"shared": 1}, KnownHosts(cast("Store", None), tmp_path / "known hosts"), "/usr/bin/python3"
        )
    )
    assert isinstance(loaded, dict)
    everyone = loaded["all"]
    assert isinstance(everyone, dict)
    assert everyone["vars"] == {"shared": 1}
    hosts = everyone["hosts"]
    assert isinstance(hosts, dict)
    found = hosts[machine.uuid]
    assert isinstance(found, dict)
    return found


@given(values)
def test_every_value_comes_back_as_it_was(value: Variable) -> None:
    assert load(plain_yaml(value)) == value


@pytest.mark.parametrize("length", [1022, 1023, 5000])
def test_key_longer_than_yaml_takes_unmarked_comes_back_as_it_was(length: int) -> None:
    value: Variable = {"a": 1, "0" * length: {"0" * length: "x"}, "z": [None]}
    assert load(plain_yaml(value)) == value


def test_all_text_is_marked_so_that_ansible_does_not_expand_it() -> None:
    assert plain_yaml({"a": ["{{ x }}"]}) == '{"a": [!unsafe "{{ x }}"]}'


def test_password_login_offers_no_key_and_is_the_sudo_password(tmp_path: Path) -> None:
    target = SshTarget(host="198.18.0.11", port=2222, username="admin", password="p'w\"{{ }}")

    found = host_variables(Machine(uuid="u1", target=target), tmp_path)

    assert found["ansible_host"] == "198.18.0.11"
    assert found["ansible_port"] == 2222
    assert found["ansible_password"] == found["ansible_become_password"] == "p'w\"{{ }}"
    assert found["ansible_become"] is True
    assert "PubkeyAuthentication=no" in str(found["ansible_ssh_common_args"])


def test_key_login_of_root_needs_no_sudo(tmp_path: Path) -> None:
    target = SshTarget(host="198.18.0.11", private_key_path=tmp_path / "key")

    found = host_variables(Machine(uuid="u1", target=target), tmp_path)

    assert found["ansible_ssh_private_key_file"] == str(tmp_path / "key")
    assert found["ansible_become"] is False
    assert "ansible_password" not in found


def test_only_the_pinned_keys_count(tmp_path: Path) -> None:
    found = host_variables(Machine(uuid="u1", target=SshTarget(host="h")), tmp_path)

    arguments = str(found["ansible_ssh_common_args"])
    assert f"'UserKnownHostsFile=\"{tmp_path}/known hosts/u1\"'" in arguments
    assert "HostKeyAlias=u1" in arguments
    assert "StrictHostKeyChecking=yes" in arguments


def test_machines_own_variables_cannot_change_its_login(tmp_path: Path) -> None:
    machine = Machine(uuid="u1", target=SshTarget(host="h"), variables={"ansible_host": "other", "mine": "x"})

    found = host_variables(machine, tmp_path)

    assert (found["ansible_host"], found["mine"]) == ("h", "x")


def test_operator_folder_gives_its_roles_and_the_task_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "audit" / "tasks").mkdir(parents=True)
    (tmp_path / "pre.yml").write_text("[]")

    assert OperatorRoles(path=tmp_path, after=("audit",)).variables() == {
        "operator_roles_before": [],
        "operator_roles_after": ["audit"],
        "operator_tasks_before": [str(tmp_path / "pre.yml")],
        "operator_tasks_after": [],
    }


def test_operator_role_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match="'audit'") as caught:
        OperatorRoles(path=tmp_path, before=("audit",)).variables()
    assert caught.value.code == "deploy.no-operator-roles"


def test_operator_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CairnError, match=str(tmp_path / "none")):
        OperatorRoles(path=tmp_path / "none").variables()
