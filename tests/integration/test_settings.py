"""Settings act at once, also on what waits for an interval to pass."""

from __future__ import annotations

from cairn.kernel.loop import Loop
from cairn.testing.cloud import Cloud


def woken_by(cloud: Cloud, loops: list[Loop], key: str, value: float) -> dict[str, bool]:
    """The loops whose interval is another one with this value of a setting, and whether each hears of the change."""
    config = cloud.node.context.config
    before = {loop.name: loop._interval() for loop in loops}
    for loop in loops:
        loop._wanted.clear()
    config._took(key, value)
    return {loop.name: loop._wanted.is_set() for loop in loops if loop._interval() != before[loop.name]}


async def test_each_loop_hears_of_the_setting_that_its_interval_is() -> None:
    async with Cloud.open(hosts=1) as cloud:
        loops = list(cloud.node.context.loops._loops.values())
        heard: dict[str, bool] = {}
        for setting in cloud.node.loaded.settings:
            if setting.unit == "s" and setting.maximum is not None:
                heard |= woken_by(cloud, loops, setting.key, setting.maximum)

    assert {"sweep destroyed VMs", "host syncs", "list of hosts"} <= heard.keys()
    assert [name for name, woken in heard.items() if not woken] == []
