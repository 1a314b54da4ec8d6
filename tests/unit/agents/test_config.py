from __future__ import annotations

from pathlib import Path

import pytest

from cairn.agents.config import AgentConfig, ConfigError, Role, load


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.json"
    path.write_text(text)
    return path


def test_without_a_file_the_agent_listens_on_loopback_only() -> None:
    found = load(None, Role.KVM)
    assert found == AgentConfig()
    assert (found.address, found.listen_port(Role.KVM), found.listen_port(Role.BACKUP)) == ("127.0.0.1", 7070, 7171)


def test_port_of_the_file_is_used(tmp_path: Path) -> None:
    assert load(config(tmp_path, '{"port": 9}'), Role.KVM).listen_port(Role.KVM) == 9


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"address": "0.0.0.0"}', "not loopback"),
        ('{"address": "host1"}', "an IP address would fit"),
        ('{"adress": "127.0.0.1"}', "adress"),
        ('{"role": "backup"}', "make them agree"),
        ("{", "truncated"),
        ('{"tls": {"ca": "x"}}', "cert"),
    ],
)
def test_wrong_configuration_is_refused_with_the_field(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(config(tmp_path, text), Role.KVM)


def test_missing_file_that_was_named_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.json", Role.KVM)


def test_any_address_may_be_listened_on_with_tls(tmp_path: Path) -> None:
    text = '{"address": "0.0.0.0", "tls": {"ca": "a", "cert": "b", "key": "c"}}'
    assert load(config(tmp_path, text), Role.KVM).tls is not None
