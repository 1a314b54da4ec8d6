from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

import cairn.bootstrap
from cairn.cli.context import Context
from cairn.cli.serve import serve
from cairn.kernel.settings import Settings


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What nodes were started with; none is."""
    started: list[Settings] = []

    def run(settings: Settings) -> int:
        started.append(settings)
        return 5

    monkeypatch.setattr(cairn.bootstrap, "serve", run)
    return started


def test_every_setting_has_an_option_but_the_secret_ones() -> None:
    names = {param.name for param in serve.params if isinstance(param, click.Option)}
    fields = {field.name for field in msgspec.structs.fields(Settings)}
    assert names == fields - {"admin_password", "broker", "metrics_token"}


def test_options_win_over_the_environment_and_the_nodes_end_is_the_commands(
    served: list[Settings], tmp_path: Path
) -> None:
    environment = {"CAIRN_LISTEN": "127.0.0.1:1", "CAIRN_LOG_LEVEL": "debug", "CAIRN_ADMIN_PASSWORD": "secret"}
    context = Context(data_dir=tmp_path, environment=environment)
    ran = CliRunner().invoke(serve, ["--listen", "127.0.0.1:2"], obj=context)
    assert ran.exit_code == 5
    (settings,) = served
    assert (settings.listen, settings.log_level, settings.admin_password) == ("127.0.0.1:2", "debug", "secret")
    assert settings.data_dir == tmp_path


def test_the_folder_of_the_command_wins_over_that_of_the_command_line(served: list[Settings], tmp_path: Path) -> None:
    context = Context(data_dir=tmp_path / "a", environment={})
    CliRunner().invoke(serve, ["--data-dir", str(tmp_path / "b")], obj=context)
    assert served[0].data_dir == tmp_path / "b"


def test_help_names_each_settings_variable() -> None:
    told = CliRunner().invoke(serve, ["--help"]).output
    assert "CAIRN_LISTEN" in told
    assert "[CAIRN_DATA_DIR]" in " ".join(told.split())
