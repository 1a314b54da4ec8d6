"""Settings of backup servers."""

from __future__ import annotations

from cairn.kernel.config import Setting

AGENT_PORT = Setting(
    "backupServer", "agent.port", 7171, minimum=1, maximum=65535, doc="where agents listen on backup servers"
)
FILE_FOLDERS = Setting(
    "backupServer",
    "file.folders",
    "/var/lib/cairn-images",
    doc="folders of a backup server, separated by commas, below which images may be added by file:// URLs; used at the "
    "next connect",
)
