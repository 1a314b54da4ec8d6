"""Writes docs/settings.md: start-up settings and global configuration, from their declarations.

python tools/list_settings.py            writes it
python tools/list_settings.py --check    says whether it is as it should be, by its exit code
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from cairn.bootstrap import load_plugins
from cairn.gateway.docs import field_docs
from cairn.kernel.config import AnySetting, show
from cairn.kernel.plugin.manifest import Manifest
from cairn.kernel.settings import SECRETS, Settings, load

TARGET = Path(__file__).parents[1] / "docs" / "settings.md"

_HEAD = """\
# Settings

This page is made by `python tools/list_settings.py` from the declarations; a test holds it fresh.

## Start-up settings

Fixed for the life of a node: an option of `cairn serve`, else the environment variable, else the default. They are declared in
`src/cairn/kernel/settings.py`.

"""
_MIDDLE = """
In addition, the command line knows `CAIRN_URL` (the node that it talks to; by default `http://127.0.0.1:8080`),
`CAIRN_ACCOUNT`, `CAIRN_PASSWORD` and `CAIRN_CA_FILE` (authorities of nodes that it trusts), and `cairn lab` knows
`CAIRN_LAB_NAME`.

## Global configuration

Operators change it while the cloud runs, effective at once, as with

    cairn update-global-config category=host name=ping.interval value=30
    cairn query GlobalConfig category=host fields=name,value,defaultValue
    cairn reset-global-config category=host name=ping.interval

A value that does not fit is refused with what would fit. A default that a new version changes moves along, unless an operator
had set the value.
"""


def page(manifests: Iterable[Manifest]) -> str:
    """The whole page."""
    lines = [*_startup(), _MIDDLE, *_configuration(manifests)]
    return _HEAD + "\n".join(lines) + "\n"


def _startup() -> Iterator[str]:
    yield "| environment variable | option | default | what it does |"
    yield "|---|---|---|---|"
    docs = field_docs(Settings)
    for field in msgspec.structs.fields(Settings):
        option = f"--{field.name.replace('_', '-')}"
        default = "none" if field.default in ("", msgspec.NODEFAULT) else f"`{field.default}`"
        if field.name == "data_dir":
            default = "`/var/lib/cairn` for root, else the XDG data folder"
        shown = "" if field.name in SECRETS else f"`{option}`"
        yield f"| `CAIRN_{field.name.upper()}` | {shown} | {default} | {docs[field.name].replace('``', '`')} |"


def _configuration(manifests: Iterable[Manifest]) -> Iterator[str]:
    yield "| setting | default | what would fit | what it does | of |"
    yield "|---|---|---|---|---|"
    rows = [(setting, manifest.name) for manifest in manifests for setting in manifest.contents.settings]
    for setting, owner in sorted(rows, key=lambda row: row[0].key):
        yield f"| `{setting.key}` | {_default(setting)} | {_fits(setting)} | {setting.doc} | {owner} |"


def _default(setting: AnySetting) -> str:
    text = show(setting.default)
    return f"`{text}`{f' {setting.unit}' if setting.unit else ''}" if text else "none"


def _fits(setting: AnySetting) -> str:
    return setting.fits().removesuffix(" would fit").replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write or check; the exit code."""
    text = page(load_plugins(load({})).manifests)
    if "--check" in arguments:
        return 0 if TARGET.read_text(encoding="utf-8") == text else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
