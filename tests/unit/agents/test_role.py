from __future__ import annotations

from importlib import metadata

import pytest

from cairn.agents import role


def test_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: {"cairn-cloud": "1.2.3"}[name])
    assert role.version() == "1.2.3"


def test_a_source_tree_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    assert role.version() == "0"
