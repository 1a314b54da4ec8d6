from __future__ import annotations

from pathlib import Path

from cairn.cli.up import record


def test_what_up_made_goes_with_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cloud"
    record.begin(folder, "real", "http://x")
    (folder / "log").mkdir()
    (folder / "cairn.db").write_text("")
    record.begin(folder, "simulated", "http://x")
    assert record.remove(folder)
    assert not folder.exists()
    assert not record.remove(folder)


def test_folder_that_was_there_and_empty_stays(tmp_path: Path) -> None:
    record.begin(tmp_path, "real", "http://x")
    (tmp_path / "cairn.db").write_text("")
    assert record.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_of_an_operators_own_node_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "cairn.db").write_text("precious")
    record.begin(tmp_path, "real", "http://x")
    assert record.read(tmp_path) is None
    assert not record.remove(tmp_path)
    assert (tmp_path / "cairn.db").read_text() == "precious"


def test_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("")
    folder = tmp_path / "cloud"
    record.begin(folder, "real", "http://x")
    (folder / "link").symlink_to(outside)
    record.remove(folder)
    assert (outside / "file").exists()


def test_locks_of_further_nodes_are_among_those_to_be_held(tmp_path: Path) -> None:
    for number in (2, 3):
        (tmp_path / "nodes" / str(number)).mkdir(parents=True)
    (tmp_path / "other.lock").write_text("")
    assert record.locks(tmp_path) == [
        "node.lock",
        "nodes/2/node.lock",
        "nodes/3/node.lock",
        "other.lock",
        "simulator.json.lock",
    ]
