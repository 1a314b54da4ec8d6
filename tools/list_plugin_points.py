"""Writes docs/plugins/reference.md: what there is for authors of plugins, from the declarations.

python tools/list_plugin_points.py            writes it
python tools/list_plugin_points.py --check    says whether it is as it should be, by its exit code
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from cairn.bootstrap import Node
from cairn.cli.plugin_pages import authors_page, write
from cairn.kernel import log
from cairn.kernel.settings import load

TARGET = Path(__file__).parents[1] / "docs" / "plugins" / "reference.md"


async def page() -> str:
    """The whole page, of a node that is put together and not started."""
    with tempfile.TemporaryDirectory(prefix="cairn-points-") as folder:
        node = await Node.build(load({}, data_dir=Path(folder), listen="127.0.0.1:0"))
        try:
            return authors_page(node.loaded, node.context.flows.book)
        finally:
            await node.stop()


def main(arguments: list[str]) -> int:
    """Write or check; the exit code."""
    log.configure(level="error", form="console")
    return write(TARGET, asyncio.run(page()), check="--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
