from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from cairn.kernel.clock import SystemClock
from cairn.kernel.deploy.roots import Phase, Roots
from cairn.kernel.error import CairnError


def opened(folder: Path) -> Roots:
    return Roots(folder, SystemClock())


def trusted(folder: Path) -> int:
    return (folder / "ca.crt").read_text().count("BEGIN CERTIFICATE")


def test_a_change_goes_from_one_root_to_another_over_both(tmp_path: Path) -> None:
    roots = opened(tmp_path)
    (first,) = roots.names
    roots.announce()
    _, second = roots.names
    assert (roots.phase, roots.names, trusted(tmp_path)) == (Phase.ANNOUNCED, (first, second), 2)
    roots.switch()
    assert (roots.phase, roots.names, trusted(tmp_path)) == (Phase.RENEWING, (second, first), 2)
    roots.withdraw()
    assert (roots.phase, roots.names, trusted(tmp_path)) == (Phase.SETTLED, (second,), 1)
    assert opened(tmp_path).names == (second,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.crt", "ca.key"]


def test_each_part_may_be_asked_for_twice_and_is_found_again(tmp_path: Path) -> None:
    for part in (Roots.announce, Roots.switch, Roots.withdraw):
        roots = opened(tmp_path)
        part(roots)
        part(roots)
        again = opened(tmp_path)
        assert (again.phase, again.names) == (roots.phase, roots.names)


def test_parts_out_of_order_change_nothing(tmp_path: Path) -> None:
    roots = opened(tmp_path)
    names = roots.names
    roots.switch()
    roots.withdraw()
    assert (roots.phase, roots.names) == (Phase.SETTLED, names)


class PowerCut(Exception):
    pass


@pytest.mark.parametrize("part", ["announce", "switch", "withdraw"])
@pytest.mark.parametrize("writes", range(5))
def test_a_crash_behind_any_file_is_made_good_by_the_next_start(
    tmp_path: Path, part: str, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = opened(tmp_path)
    for before in ("announce", "switch", "withdraw"):
        if before == part:
            break
        getattr(roots, before)()
    real, left = Path.replace, [writes]

    def replace(self: Path, target: str | Path) -> Path:
        if not left[0]:
            raise PowerCut
        left[0] -= 1
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with suppress(PowerCut):
            getattr(roots, part)()

    again = opened(tmp_path)
    again.announce()
    again.switch()
    again.withdraw()
    assert (again.phase, trusted(tmp_path)) == (Phase.SETTLED, 1)
    assert opened(tmp_path).names == again.names


def test_half_a_root_is_an_error_and_no_reason_for_a_new_one(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "ca.key").unlink()
    with pytest.raises(CairnError) as caught:
        opened(tmp_path)
    assert caught.value.code == "pki.broken"
