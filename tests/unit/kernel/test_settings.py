from __future__ import annotations

import os
from pathlib import Path

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.settings import Settings, advertised, default_data_dir, listeners, load


def test_arguments_come_before_the_environment_and_that_before_defaults() -> None:
    environment = {"CAIRN_LISTEN": "0.0.0.0:80", "CAIRN_LOG_LEVEL": "debug", "CAIRN_DATA_DIR": "/srv/x"}

    settings = load(environment, listen="[::1]:8080", log_level=None)

    assert (settings.listen, settings.log_level, settings.data_dir) == ("[::1]:8080", "debug", Path("/srv/x"))
    assert settings.session_seconds == 7200


def test_numbers_are_read_as_such() -> None:
    assert load({"CAIRN_SESSION_SECONDS": "60"}).session_seconds == 60


def test_wrong_number_is_refused_by_the_name_of_its_variable() -> None:
    with pytest.raises(
        CairnError, match=r"CAIRN_MAX_BODY_BYTES: found '1M'; a whole number from 1024 to 1073741824 would fit"
    ) as caught:
        load({"CAIRN_MAX_BODY_BYTES": "1M"})

    assert caught.value.code == "settings.bad-value"


@pytest.mark.parametrize("seconds", ["0", "-5", "99999999999999"])
def test_number_beyond_its_bounds_is_refused_wherever_it_comes_from(seconds: str) -> None:
    with pytest.raises(CairnError, match="a whole number from 60 to 31536000 would fit"):
        load({"CAIRN_SESSION_SECONDS": seconds})
    with pytest.raises(CairnError, match="CAIRN_SESSION_SECONDS"):
        load({}, session_seconds=int(seconds))


@pytest.mark.parametrize(
    ("variable", "text", "fits"),
    [
        ("CAIRN_LOG_LEVEL", "loud", "one of debug, info, warning, error, critical would fit"),
        ("CAIRN_LOG_FORMAT", "xml", "one of json, console would fit"),
        ("CAIRN_WORKFLOW_DIR", "/not/there", "a folder that is there would fit"),
        ("CAIRN_ANSIBLE_DIR", "/not/there", "a folder that is there would fit"),
        ("CAIRN_AGENT_URL", "10.0.0.1:8443", "https://address:port would fit"),
        ("CAIRN_AGENT_URL", "https://node/a path", "https://address:port would fit"),
    ],
)
def test_text_that_would_do_nothing_is_refused(variable: str, text: str, fits: str) -> None:
    with pytest.raises(CairnError, match=f"{variable}: found .*{fits}") as caught:
        load({variable: text})
    assert caught.value.code == "settings.bad-value"


def test_texts_that_fit_are_taken(tmp_path: Path) -> None:
    given = {
        "CAIRN_WORKFLOW_DIR": str(tmp_path),
        "CAIRN_AGENT_URL": "https://[fd00::1]:8443",
        "CAIRN_LOG_LEVEL": "critical",
    }
    assert load(given).agent_url == "https://[fd00::1]:8443"


def test_address_of_the_broker_is_checked_and_its_password_is_not_told(tmp_path: Path) -> None:
    good = {"CAIRN_BROKER": "amqps://me:s3cr3t@mq.example.org/cloud"}
    assert load(good).broker == good["CAIRN_BROKER"]
    for wrong in ("me:s3cr3t@mq.example.org", "amqp://me:s3cr3t@mq.example.org"):
        with pytest.raises(CairnError, match="CAIRN_BROKER") as caught:
            load({"CAIRN_BROKER": wrong})
        assert "s3cr3t" not in f"{caught.value} {caught.value.fields}"
    missing = {**good, "CAIRN_BROKER_PASSWORD_FILE": str(tmp_path / "none")}
    with pytest.raises(CairnError, match="CAIRN_BROKER_PASSWORD_FILE"):
        load(missing)


def test_data_folder_of_root_is_the_system_s_and_that_of_others_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir({}) == Path("/var/lib/cairn")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert default_data_dir({"XDG_DATA_HOME": "/data"}) == Path("/data/cairn")
    assert default_data_dir({}) == Path.home() / ".local/share/cairn"


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("127.0.0.1:8080", [("127.0.0.1", 8080)]),
        ("[::1]:80, localhost:0", [("::1", 80), ("localhost", 0)]),
        ("", []),
        (" , ", []),
    ],
)
def test_addresses_are_taken_apart(text: str, pairs: list[tuple[str, int]]) -> None:
    assert listeners("CAIRN_LISTEN", text) == pairs


@pytest.mark.parametrize(
    "text",
    ["8080", ":8080", "host:", "host:x", "host:65536", "host:-1", "host:²", "::1:80", "[::1:80", "[]:80", "a:b:1"],
)
def test_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(CairnError, match=r"CAIRN_LISTEN: found .*address:port would fit.*settings\.bad-value"):
        listeners("CAIRN_LISTEN", text)


def test_every_setting_has_a_default_but_the_folder() -> None:
    assert Settings(data_dir=Path("x")).agent_listen == ""


@pytest.mark.parametrize("node", ["node-1", "A" * 32, "a" * 31])
def test_a_node_s_id_is_32_hex_digits(node: str) -> None:
    with pytest.raises(CairnError, match="CAIRN_NODE"):
        load({"CAIRN_NODE": node})
    assert load({"CAIRN_NODE": "a" * 32}).node == "a" * 32


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ("127.0.0.1", 8080)),
        ({"CAIRN_LISTEN": "10.0.0.1:80,10.0.0.2:81"}, ("10.0.0.1", 80)),
        ({"CAIRN_LISTEN": "0.0.0.0:80", "CAIRN_ADVERTISE": "[fd00::1]:443"}, ("fd00::1", 443)),
        ({"CAIRN_LISTEN": ""}, ("127.0.0.1", 0)),
    ],
)
def test_others_reach_a_node_where_it_says_or_where_it_listens(given: dict[str, str], found: tuple[str, int]) -> None:
    assert advertised(load(given)) == found


@pytest.mark.parametrize("text", ["here", "a:1,b:2", "a:99999"])
def test_what_is_no_address_or_several_is_not_advertised(text: str) -> None:
    with pytest.raises(CairnError, match="CAIRN_ADVERTISE"):
        load({"CAIRN_ADVERTISE": text})
