from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from cairn.kernel.deploy.pem import BACKDATE, Pair, builder, common_name, load_pair, subject_of, write_pair

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def pair(name: str) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = subject_of(name, "unit")
    return Pair(builder(subject, subject, key, NOW, NOW + timedelta(days=1)).sign(key, hashes.SHA256()), key)


def test_a_pair_is_read_as_it_was_written_and_its_key_is_private(tmp_path: Path) -> None:
    certificate, key = tmp_path / "a.crt", tmp_path / "a.key"
    write_pair(certificate, key, pair("one"))
    found = load_pair(certificate, key)
    assert found is not None
    assert common_name(found.certificate.subject) == "one"
    assert found.certificate.not_valid_before_utc == NOW - BACKDATE
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.crt", "a.key"]


def test_two_files_that_do_not_belong_together_are_no_pair(tmp_path: Path) -> None:
    write_pair(tmp_path / "a.crt", tmp_path / "a.key", pair("one"))
    write_pair(tmp_path / "b.crt", tmp_path / "b.key", pair("two"))
    (tmp_path / "c.crt").write_text("no certificate")
    assert load_pair(tmp_path / "a.crt", tmp_path / "b.key") is None
    assert load_pair(tmp_path / "c.crt", tmp_path / "a.key") is None
    assert load_pair(tmp_path / "none.crt", tmp_path / "none.key") is None
