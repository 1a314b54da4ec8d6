from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from cairn.cli.errors import Exit
from cairn.cli.main import COMMANDS, HIDDEN, cairn, run
from cairn.kernel.error import CairnError

EVERYTHING = [place for section in COMMANDS.values() for place, _ in section.values()] + list(HIDDEN.values())


@pytest.mark.parametrize("place", EVERYTHING)
def test_every_listed_command_is_there(place: str) -> None:
    from importlib import import_module

    module, _, attribute = place.partition(":")
    assert isinstance(getattr(import_module(module), attribute), click.Command)


def test_help_lists_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == Exit.OK
    told = capsys.readouterr().out
    for section in COMMANDS.values():
        assert all(f"  {name} " in told for name in section)
    assert all(f"  {code.value} " in told for code in Exit)


def test_help_imports_neither_the_node_nor_tables_nor_the_shell() -> None:
    program = (
        "import sys; from cairn.cli.main import run; run(['--help']); "
        "print([name for name in ('sqlalchemy', 'rich', 'prompt_toolkit', 'aiohttp', 'uvloop', 'ansible') "
        "if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_unknown_command_is_wrong_usage() -> None:
    assert run(["nonsense"]) == Exit.USAGE


def test_error_of_cairn_itself_is_exit_code_1_with_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(**_: object) -> object:
        raise CairnError("lab.no-boot", "host1 did not boot.", cause=CairnError("lab.timeout", "It was waited for."))

    assert run([], fail) == Exit.REFUSED
    told = capsys.readouterr().err
    assert "host1 did not boot." in told
    assert "because: It was waited for. [lab.timeout]" in told
    assert "lab.no-boot" in told


def test_interrupt_is_exit_code_130() -> None:
    def interrupt(**_: object) -> object:
        raise KeyboardInterrupt

    assert run([], interrupt) == Exit.INTERRUPTED


def test_url_of_no_node_is_exit_code_3_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--url", "http://127.0.0.1:9", "query", "Zone", "--json"]) == Exit.UNREACHABLE
    told = capsys.readouterr()
    assert '"code": "cli.unreachable"' in told.err
    assert told.out == ""


def test_a_name_without_a_dash_is_no_api() -> None:
    with click.Context(cairn) as context:
        assert cairn.get_command(context, "creaet") is None
        assert cairn.get_command(context, "create-zone") is not None
        assert cairn.get_command(context, "CreateZone") is not None


def test_data_folder_before_the_command_is_the_labs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CAIRN_DATA_DIR", raising=False)
    assert run(["--data-dir", str(tmp_path / "here"), "lab", "status"]) == Exit.REFUSED
    assert str(tmp_path / "here") in capsys.readouterr().err
