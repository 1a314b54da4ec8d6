from __future__ import annotations

from pathlib import Path

from tests.unit.cli.conftest import Cli

from cairn.bootstrap import load_plugins
from cairn.cli.errors import Exit
from cairn.cli.plugin_pages import authors_page, plugin_page, write
from cairn.kernel.settings import load
from cairn.testing.cloud import Cloud

EXTRA = {"plugins_extra": "cairn_audit.manifest"}


async def test_page_for_authors_has_points_events_and_fields() -> None:
    async with Cloud.open(hosts=0, settings=EXTRA) as cloud:
        page = authors_page(cloud.node.loaded, cloud.node.context.flows.book)
    assert "| `node.loops` | `Loops` |" in page
    assert "| `veto(tx, call, account)` |" in page
    assert "| `vm.crashed` | A VM ended without its guest" in page
    assert "| `host.claim` | choosing a host | `place: Candidate` |" in page
    assert "| `audit.note-start` | noting that the VM started | `audit_note_uuid: str` |" in page


def test_page_of_a_plugin_has_what_it_brings_and_nothing_of_others() -> None:
    loaded = load_plugins(load({}, **EXTRA))
    audit = next(one for one in loaded.manifests if one.name == "audit")
    page = plugin_page(audit, loaded)
    for name in (
        "HoldVmInstance",
        "AuditNote",
        "audit.requireTicket",
        "hold::{reason}",
        "audit.note-start",
        "audit.vm-held",
    ):
        assert f"| `{name}` |" in page
    assert "hostname::" not in page


def test_page_is_printed_and_a_plugin_that_is_not_there_is_told(cli: Cli) -> None:
    assert cli("plugin", "reference", "flat_network").out.startswith("# flat_network")
    ran = cli("plugin", "reference", "nobody")
    assert ran.code == Exit.USAGE
    assert "There is no plugin 'nobody'. There are: " in ran.err


def test_page_is_written_or_compared(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "page.md"
    assert write(path, "x", check=False) == 0
    assert (write(path, "x", check=True), write(path, "y", check=True)) == (0, 1)
    assert path.read_text(encoding="utf-8") == "x"
