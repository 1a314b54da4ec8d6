from __future__ import annotations

from pathlib import Path

import pytest

from cairn.agents.main import main


def test_unsafe_configuration_ends_with_2_and_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.json").write_text('{"address": "0.0.0.0"}')
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--role", "backup", "--config", str(tmp_path / "agent.json")])
    assert caught.value.code == 2
    assert "not loopback" in capsys.readouterr().err


def test_unknown_role_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--role", "toaster"])
    assert caught.value.code == 2
    assert "kvm" in capsys.readouterr().err
