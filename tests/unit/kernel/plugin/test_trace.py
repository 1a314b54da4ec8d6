from __future__ import annotations

from cairn.kernel.config import GlobalConfigRow
from cairn.kernel.plugin.trace import PluginTrace, TraceKind
from cairn.testing.cloud import Cloud, parts_of

EXTRA = {"plugins_extra": "cairn_audit.manifest"}


def traces(cloud: Cloud, plugin: str) -> set[tuple[TraceKind, str]]:
    rows = cloud.read_now(lambda tx: tx.find(PluginTrace, plugin=plugin))
    return {(row.kind, row.name) for row in rows}


async def test_setting_of_a_plugin_that_is_left_out_keeps_its_value_until_it_is_back() -> None:
    async with Cloud.open(hosts=0, settings=EXTRA) as cloud:
        await cloud.call("UpdateGlobalConfig", category="audit", name="hostsForTickets", value="blue")
        noted = traces(cloud, "audit")

        await cloud.kill()
        cloud._loaded, _ = parts_of("audit", EXTRA["plugins_extra"])
        await cloud.start()
        rows = cloud.read_now(lambda tx: tx.find(GlobalConfigRow, category="audit", name="hostsForTickets"))
        assert [row.value for row in rows] == ["blue"]
        assert traces(cloud, "audit") == noted != set()

        await cloud.kill()
        cloud._loaded, _ = parts_of("", EXTRA["plugins_extra"])
        await cloud.start()
        (row,) = await cloud.query("GlobalConfig", "category=audit", "name=hostsForTickets")
        assert row["value"] == "blue"


async def test_setting_that_a_plugin_only_reads_is_not_noted_as_its_own() -> None:
    async with Cloud.open(hosts=0) as cloud:
        rows = cloud.read_now(lambda tx: tx.find(PluginTrace, kind=TraceKind.SETTING))
        assert {row.name for row in rows if row.name.startswith(("vm.", "host.", "api.", "job."))} == set()


async def test_what_a_new_version_of_a_plugin_does_not_have_any_more_is_forgotten() -> None:
    async with Cloud.open(hosts=0, settings=EXTRA) as cloud:
        stale = PluginTrace(uuid="1" * 32, plugin="audit", kind=TraceKind.SETTING, name="audit.old")
        foreign = PluginTrace(uuid="2" * 32, plugin="gone", kind=TraceKind.SETTING, name="gone.x")
        await cloud.store.write(lambda tx: tx.insert(stale))
        await cloud.store.write(lambda tx: tx.insert(foreign))
        await cloud.revive()
        assert (TraceKind.SETTING, "audit.old") not in traces(cloud, "audit")
        assert traces(cloud, "gone") == {(TraceKind.SETTING, "gone.x")}
