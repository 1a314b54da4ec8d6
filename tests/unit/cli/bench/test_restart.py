from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.bench.test_load import Node, served
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fakes import FakeNode

from cairn.cli.bench import restart as module
from cairn.cli.bench.creation import Template
from cairn.cli.bench.restart import Program
from cairn.cli.errors import CliError, Exit


def test_a_program_is_started_as_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "import os; print(os.environ['WORD'], os.getcwd(), flush=True); input()"
    with log.open("wb") as output:
        first = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=output,
            env={"WORD": "hello"},
            cwd=tmp_path,
        )
    try:
        while not log.read_text():
            assert first.poll() is None
        program = Program(first.pid)
    finally:
        first.kill()
        first.communicate()

    os.waitpid(program.start(), 0)  # it has nothing to read, and ends

    lines = log.read_text().splitlines()
    assert lines[0] == lines[1] == f"hello {tmp_path}"


def test_a_process_that_cannot_be_seen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError) as caught:
        Program(1, tmp_path)
    assert caught.value.problem.code == "bench.denied"


def test_a_node_elsewhere_is_refused(cli: Cli, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    template = Template(image="i", network="n", offering="o", prefix="bench-1")
    monkeypatch.setattr(module, "template_of", lambda *given: template)

    ran = cli("bench", "restart", "--count", "1", "--json")

    assert (ran.code, json.loads(ran.err)["error"]["code"]) == (Exit.REFUSED, "bench.no-node")


async def test_a_process_that_has_gone_is_not_waited_for(tmp_path: Path) -> None:
    await module._gone(1, tmp_path)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "stat").write_text("2 (python) Z 1 2")
    await module._gone(2, tmp_path)
    async with served(Node()) as origin:
        with pytest.raises(CliError) as caught:
            await module._ready(origin, begun=-1000.0)
    assert caught.value.problem.code == "bench.lost"
