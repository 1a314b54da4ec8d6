from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from yarl import URL

from cairn.kernel.bus.broker import Broker, parse_broker
from cairn.kernel.error import CairnError
from cairn.testing.shared import authority_in

SECRET = "s3cr3t/@:?&"
QUOTED = "s3cr3t%2F%40%3A%3F%26"


def test_address_with_everything(tmp_path: Path) -> None:
    file = tmp_path / "mq.pem"
    file.touch()
    text = f"amqps://me:{QUOTED}@mq.example.org:99/a%2Fb?cafile={file}&heartbeat=20&prefix=cloud-1"
    assert parse_broker(text) == Broker(
        host="mq.example.org",
        port=99,
        user="me",
        password=SECRET,
        vhost="a/b",
        cafile=str(file),
        heartbeat_seconds=20,
        prefix="cloud-1",
    )


def test_what_is_not_said_is_usual() -> None:
    assert parse_broker("amqps://mq.example.org") == Broker(
        host="mq.example.org", port=5671, user="guest", password="guest", vhost="/"
    )
    assert (parse_broker("amqp://[::1]").port, parse_broker("amqp://localhost/").vhost) == (5672, "/")


def test_password_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\nsomething else\n")
    assert parse_broker("amqps://me@mq.example.org", str(file)).password == SECRET


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mq.example.org:5671", "amqps://"),
        ("http://mq.example.org", "amqps://"),
        (f"amqps://me:{QUOTED}@", "amqps://"),
        (f"amqps://me:{QUOTED}@mq:port", "amqps://"),
        (f"amqps://me:{QUOTED}@mq/x#y", "amqps://"),
        (f"amqp://me:{QUOTED}@mq.example.org", "plain=yes"),
        (f"amqp://me:{QUOTED}@192.0.2.1", "plain=yes"),
        (f"amqps://me:{QUOTED}@mq?verify=no", "cafile"),
        (f"amqps://me:{QUOTED}@mq?cafile=/nowhere", "a file that is there"),
        (f"amqp://me:{QUOTED}@127.0.0.1?cafile=/dev/null", "amqps"),
        (f"amqps://me:{QUOTED}@mq?heartbeat=0", "from 1 to 300"),
        (f"amqps://me:{QUOTED}@mq?heartbeat=soon", "from 1 to 300"),
        (f"amqps://me:{QUOTED}@mq?prefix=a/b", "letters"),
    ],
)
def test_wrong_address_is_told_without_the_password(text: str, told: str) -> None:
    with pytest.raises(CairnError) as caught:
        parse_broker(text)
    shown = f"{caught.value} {caught.value.fields}"
    assert caught.value.code == "settings.bad-value"
    assert told in shown
    assert "s3cr3t" not in shown


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_file_without_a_password_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CairnError) as caught:
        parse_broker("amqps://me@mq", str(file))
    assert list(caught.value.fields) == ["CAIRN_BROKER_PASSWORD_FILE"]


def test_plain_connection_to_another_machine_has_to_be_meant() -> None:
    assert not parse_broker("amqp://me:x@192.0.2.1?plain=yes").tls


def test_url_for_the_library_says_the_same() -> None:
    broker = Broker(host="::1", port=7, user="m@e", password=SECRET, vhost="a/b", tls=False)
    url = URL(broker.url("cairn a"), encoded=True)
    assert (url.scheme, url.host, url.port, url.user, url.password) == ("amqp", "::1", 7, "m@e", SECRET)
    assert (url.raw_path, dict(url.query)) == ("/a%2Fb", {"heartbeat": "5", "name": "cairn a"})


def test_password_is_not_shown() -> None:
    assert repr(parse_broker(f"amqps://me:{QUOTED}@mq/x")) == "Broker(mq:5671/x)"


async def test_certificates_are_checked_against_the_file(tmp_path: Path) -> None:
    (await authority_in(tmp_path)).issue_node(["127.0.0.1"])
    names = {"cafile": "ca.crt", "certfile": "node.crt", "keyfile": "node.key"}
    query = "&".join(f"{name}={tmp_path / file}" for name, file in names.items())
    context = parse_broker(f"amqps://mq?{query}").tls_context()
    assert context is not None
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert len(context.get_ca_certs()) == 1
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert parse_broker("amqp://127.0.0.1").tls_context() is None
