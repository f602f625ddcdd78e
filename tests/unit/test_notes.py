"""Notes of attachments in files: read back whatever happened to them."""

import os
from pathlib import Path
from typing import Any

import pytest

from cni.address import Address
from cni.attachment import Attachment
from cni.filtering.pod import Pod
from cni.notes import Notes

POD = Attachment("net", "c1", "eth0")
OTHER = Attachment("net2", "c1", "eth0")


def test_a_note_is_read_listed_and_removed(tmp_path: Path) -> None:
    notes = Notes(f"{tmp_path}/kind", 7)
    assert (notes.read(POD.link), notes.links(), notes.found("")) == ({}, [], [])
    notes.remove(POD.link)
    for attachment in (POD, OTHER):
        notes.write(attachment.link, str(attachment), {"addresses": ["10.0.0.2"], "policy": ""})
    notes.write(POD.link, str(POD), {"addresses": ["10.0.0.3"]})
    assert notes.read(POD.link) == {"owner": "net/c1/eth0", "addresses": ["10.0.0.3"]}
    assert Notes(f"{tmp_path}/kind", 8).links() == []
    (found,) = notes.found("net")
    assert (found, found.owner, found.facts) == (POD.link, str(POD), {"addresses": ["10.0.0.3"]})
    assert {each.owner for each in notes.found("")} == {str(POD), str(OTHER)}
    for attachment in (POD, OTHER):
        notes.remove(attachment.link)
    assert not Path(f"{tmp_path}/kind/7").exists()


def test_what_others_leave_and_remove_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that died leaves a file; a DEL removes the folder with the last note between two steps of a writer."""
    notes, folder, makedirs = Notes(str(tmp_path), 1), tmp_path / "1", os.makedirs
    folder.mkdir()
    (folder / f".{POD.link}").write_text("{")

    def once(path: str, *more: Any, **keys: Any) -> None:
        makedirs(path, *more, **keys)
        monkeypatch.undo()
        notes.remove(POD.link)
        assert not folder.exists()

    monkeypatch.setattr(os, "makedirs", once)
    notes.write(OTHER.link, str(OTHER), {})
    assert notes.links() == [OTHER.link]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "null", '{"owner": "net/c1/eth0"', "\0\xff"])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    notes = Notes(str(tmp_path), 1)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / POD.link).write_text(text)
    assert notes.read(POD.link) == {} and notes.found("net") == []
    notes.remove(POD.link)
    assert notes.links() == []


def test_without_a_folder_there_are_no_notes(tmp_path: Path) -> None:
    """A read-only /run: writing is no error. A link is not followed."""
    (tmp_path / "file").write_text("")
    notes = Notes(f"{tmp_path}/file", 1)
    notes.write(POD.link, str(POD), {})
    assert notes.read(POD.link) == {} and notes.links() == []
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / POD.link).symlink_to(tmp_path / "other")
    (tmp_path / "other").write_text('{"owner": "a/b/c"}')
    assert Notes(str(tmp_path), 1).read(POD.link) == {}


@pytest.mark.parametrize(
    "note", [{}, {"addresses": None}, {"addresses": ["x", 5, "10.0.0.2"], "ports": 3, "policy": 4}, {"addresses": 7}]
)
def test_a_pod_is_read_from_any_note(note: dict[str, object]) -> None:
    pod = Pod.parse(note)
    assert pod.addresses in ([], [Address.parse("10.0.0.2")])
    assert Pod.parse(pod.document()) == pod
