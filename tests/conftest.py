"""For all tests: logs only where a test looks at them."""

from __future__ import annotations

import io

import pytest

from cairn.kernel import log


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """What nodes log in a test goes nowhere."""
    log.configure(stream=io.StringIO(), level="warning", form="json")
