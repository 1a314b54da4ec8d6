from __future__ import annotations

from cairn.testing.cloud import Cloud
from cairn.testing.snapshot import differences, snapshot


def test_differences_are_a_line_each() -> None:
    before = {"a": {"x": 1}, "b": 2, "c": 3}
    assert differences(before, {"a": {"x": 2}, "b": 2, "d": 4}) == ["/a/x: 1 -> 2", "/c: gone: 3", "/d: new: 4"]
    assert differences(before, dict(before)) == []


async def test_snapshot_sees_rows_and_hosts() -> None:
    async with Cloud.open(hosts=1) as cloud:
        await cloud.make_site()
        before = snapshot(cloud)
        await cloud.create_vm("web")
        found = differences(before, snapshot(cloud))
        assert any(line.startswith("/database/vm_instance/") for line in found)
        assert any("/vms/" in line for line in found)
