from __future__ import annotations

from pathlib import Path

from cairn.kernel.deploy.agent import agent_variables
from cairn.kernel.deploy.wheels import WheelSet
from cairn.testing.shared import authority_in


async def test_role_is_told_certificates_wheels_and_settings(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"wheel")
    wheels = WheelSet(folder=tmp_path, names=("a.whl",), checksum="c" * 64)
    credentials = await (await authority_in(tmp_path / "pki")).issue_agent("a", "u1", ["198.18.0.11"])

    variables = agent_variables(credentials, wheels, tmp_path / "cache", {"file_url_dirs": ["/srv"]})

    assert variables["agent_key"] == credentials.key
    assert variables["agent_wheels_checksum"] == "c" * 64
    assert Path(str(variables["agent_wheels_archive"])).is_file()  # noqa: ASYNC240 (a test)
    assert variables["agent_settings"] == {"file_url_dirs": ["/srv"]}
