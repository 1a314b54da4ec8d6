"""For all tests of the plugin."""

from __future__ import annotations

import io

import pytest

from cairn.kernel import log


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """What nodes log in a test goes nowhere: a node that is killed would tell of each of its tasks, which takes seconds."""
    log.configure(stream=io.StringIO(), level="warning", form="json")
