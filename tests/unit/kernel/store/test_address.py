from __future__ import annotations

from pathlib import Path

import pytest

from cairn.kernel.error import CairnError
from cairn.kernel.store.address import ServerAddress, database_at


def test_a_path_and_its_url_name_the_same_file() -> None:
    assert database_at("/a/b.db") == database_at(Path("/a/b.db")) == database_at("sqlite:////a/b.db") == Path("/a/b.db")


def test_a_server_is_named_with_user_password_and_database() -> None:
    found = database_at("mysql://cairn:p%40ss%2F@db.example:3307/cloud")
    assert found == ServerAddress(database="cloud", user="cairn", password="p@ss/", host="db.example", port=3307)
    assert database_at("mariadb://cairn@[::1]/cloud") == ServerAddress(database="cloud", user="cairn", host="::1")


def test_a_server_on_this_machine_is_named_by_its_socket() -> None:
    found = database_at("mysql://root@/cairn?unix_socket=/run/mysqld/mysqld.sock")
    assert found == ServerAddress(database="cairn", user="root", socket="/run/mysqld/mysqld.sock")


def test_the_password_may_lie_in_a_file_and_tls_is_chosen_by_its_authority(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "ca").write_text("x")
    found = database_at(f"mysql://u@h/d?password_file={tmp_path}/password&ssl_ca={tmp_path}/ca")
    assert found == ServerAddress(database="d", user="u", host="h", password="secret", ssl_ca=f"{tmp_path}/ca")


def test_the_password_is_not_shown() -> None:
    found = database_at("mysql://cairn:topsecret@db/cloud")
    assert "topsecret" not in f"{found} {found!r}"
    assert str(found) == "database cloud of db:3306"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgres://u:topsecret@h/d", "'postgres'"),
        ("mysql://u:topsecret@h/", "the name of a database"),
        ("mysql://h/d", "a user"),
        ("mysql://u:topsecret@h/d/e", "the name of a database"),
        ("mysql://u:topsecret@h:port/d", "host or port"),
        ("mysql://u:topsecret@/d", "either a host or unix_socket"),
        ("mysql://u:topsecret@h/d?unix_socket=/s", "either a host or unix_socket"),
        ("mysql://u:topsecret@h/d?speed=high", "speed"),
        ("mysql://u:topsecret@h/d?password_file=/p", "one of them"),
        ("mysql://u@h/d?password_file=/there/is/none", "cannot be read"),
        ("mysql://u:topsecret@h/d?ssl_ca=/there/is/none", "is no file"),
        ("mysql://u:topsecret@h/d?ssl_key=/k", "without ssl_ca"),
    ],
)
def test_an_address_that_does_not_fit_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(CairnError) as caught:
        database_at(url)
    assert caught.value.code == "store.bad-url"
    assert said in str(caught.value) and "topsecret" not in str(caught.value)


def test_an_address_says_how_many_connections_write() -> None:
    plain, few = (database_at(f"mysql://cairn@db/cairn{more}") for more in ("", "?writers=2"))
    assert isinstance(plain, ServerAddress)
    assert isinstance(few, ServerAddress)
    assert (plain.writers, few.writers) == (4, 2)


@pytest.mark.parametrize("writers", ["", "0", "17", "-1", "four", "9" * 5000])
def test_a_number_of_writers_that_does_not_fit_is_refused(writers: str) -> None:
    with pytest.raises(CairnError, match="a number from 1 to 16 would fit") as caught:
        database_at(f"mysql://cairn@db/cairn?writers={writers}")
    assert caught.value.code == "store.bad-url"
