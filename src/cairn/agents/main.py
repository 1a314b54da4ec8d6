"""The command ``cairn-agent``: reads the configuration and runs one agent until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from pathlib import Path

from cairn.agents import log
from cairn.agents.agent import serve
from cairn.agents.config import ConfigError, Role, load
from cairn.agents.role import version

DEFAULT_CONFIG = Path("/etc/cairn/agent.json")


def main(arguments: list[str] | None = None) -> None:
    """``cairn-agent serve --role kvm|backup [--config FILE]``. Exit code 2: the configuration cannot be used."""
    options = _parser().parse_args(arguments)
    role = Role(options.role)
    log.configure()
    given: Path | None = options.config
    path = given if given is not None else (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    try:
        config = load(path, role)
        asyncio.run(serve(config, role))
    except ConfigError as error:
        _refuse(str(error))
    except (OSError, ssl.SSLError) as error:
        _refuse(f"cannot start: {error}")
    except ImportError as error:
        _refuse(f"cannot start in the role {role.value}: {error}. Install python3-libvirt")


def _refuse(sentence: str) -> None:
    print(f"cairn-agent: {sentence}", file=sys.stderr)
    sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cairn-agent", description="The agent of a private cloud on a machine.")
    parser.add_argument("--version", action="version", version=version())
    serve_parser = parser.add_subparsers(required=True, metavar="COMMAND").add_parser("serve", help="run the agent")
    serve_parser.add_argument("--role", choices=[role.value for role in Role], required=True)
    serve_parser.add_argument("--config", type=Path, help=f"JSON file (default: {DEFAULT_CONFIG} if it exists)")
    return parser


if __name__ == "__main__":
    main()
