"""For all tests: quiet where all is well, and no clock on the wall that decides."""

from __future__ import annotations

import io

import pytest
from hypothesis import HealthCheck, settings

from cairn.kernel import log
from cairn.testing.mariadb import stop_shared_server

# How long an example takes says how busy the machine is.
settings.register_profile("cairn", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("cairn")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Dots are for people who watch; elsewhere only failures are told, and the last line."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not reporter.isatty:
        config.pluginmanager.register(NoDots())


def pytest_sessionfinish() -> None:
    """The database server that tests were given ends with them."""
    stop_shared_server()


class NoDots:
    """Says nothing of a test that passed."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Counted, and not shown."""
        return ("passed", "", "") if report.passed and report.when == "call" else None


@pytest.fixture(autouse=True)
def quiet_logs() -> None:
    """What nodes log in a test goes nowhere."""
    log.configure(stream=io.StringIO(), level="warning", form="json")
