"""What `make setup` installs is all that a lab host's playbooks ask for: lab hosts have no way to the internet."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLAYBOOKS = sorted(ROOT.glob("src/cairn/plugins/*/ansible/vars.yml"))


def _made() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.search(r"^PACKAGES := (.*)$", text, re.MULTILINE)
    assert found is not None
    return set(found.group(1).split())


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.parents[1].name)
def test_setup_installs_what_a_playbook_asks_for(playbook: Path) -> None:
    asked = set(yaml.safe_load(playbook.read_text(encoding="utf-8"))["agent_packages"])
    assert asked - _made() == set()


def test_there_are_playbooks() -> None:
    assert len(PLAYBOOKS) >= 2
