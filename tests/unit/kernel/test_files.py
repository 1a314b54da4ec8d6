from __future__ import annotations

import resource

import pytest

from cairn.kernel import files


class System:
    """Limits as a system keeps them."""

    RLIMIT_NOFILE = resource.RLIMIT_NOFILE
    RLIM_INFINITY = resource.RLIM_INFINITY

    def __init__(self, most: int, *, superuser: bool) -> None:
        self.limits = (100, most)
        self._superuser = superuser

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[1] > self.limits[1] and not self._superuser:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("most", "superuser", "found"),
    [(20_000, False, 20_000), (20_000, True, 60_000), (100_000, False, 100_000), (100_000, True, 100_000)],
)
def test_as_many_as_asked_for_or_as_may_be(
    most: int, superuser: bool, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(most, superuser=superuser)
    monkeypatch.setattr(files, "resource", system)
    assert files.open_more(60_000) == found
    assert system.limits == (found, found)


def test_without_a_limit_there_are_as_many_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "resource", System(resource.RLIM_INFINITY, superuser=False))
    assert files.open_more(60_000) == 60_000


@pytest.mark.parametrize(("of", "possible"), [(1_000_000, 40_000), (20_000, 18_000), (4_000, 3_000)])
def test_some_files_are_kept_for_what_is_no_connection(of: int, possible: int) -> None:
    assert files.connections(40_000, of) == possible


@pytest.mark.parametrize(
    ("soft", "found"), [(1024, 4096), (20_000, 5_000), (200_000, 50_000), (resource.RLIM_INFINITY, 1 << 18)]
)
def test_a_quarter_of_the_files_may_be_connections_to_agents(
    soft: int, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(soft, superuser=False)
    system.limits = (soft, soft)
    monkeypatch.setattr(files, "resource", system)
    assert files.to_agents() == found
