from __future__ import annotations

from pathlib import Path

import click
from click.testing import CliRunner

from cairn.cli.context import DEFAULT_URL, Context, common, pass_context
from cairn.kernel.settings import default_data_dir


@click.command()
@common
@pass_context
def told(context: Context) -> None:
    click.echo(f"{context.url} {context.as_json}")


def test_options_of_a_command_are_found_in_its_context() -> None:
    runner = CliRunner()
    assert runner.invoke(told, []).output == f"{DEFAULT_URL} False\n"
    assert runner.invoke(told, ["--json", "--url", "http://other"]).output == "http://other True\n"


def test_what_the_group_said_stays_where_a_command_says_nothing() -> None:
    assert CliRunner().invoke(told, [], obj=Context(url="http://group")).output == "http://group False\n"


def test_one_command_line_has_one_client_and_its_names_ask_it(tmp_path: Path) -> None:
    context = Context("http://node", tmp_path, {"XDG_CONFIG_HOME": str(tmp_path)})
    assert context.client is context.client
    assert context.names is context.names


def test_data_is_where_it_is_by_default_unless_it_is_said() -> None:
    assert Context(environment={"HOME": "/home/cat"}).data_dir == default_data_dir({"HOME": "/home/cat"})
    assert Context(data_dir=Path("/y"), environment={"HOME": "/home/cat"}).data_dir == Path("/y")
