"""The mark at the end of a single file."""

import re
from pathlib import Path

import pytest

from cni.identity import MARK, build_of

ARCHIVE = Path(__file__).parents[2] / "build/archive.py"


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 1000, b"pycni-build", MARK, MARK + b"0123" + b"x" * 300])
def test_a_file_without_a_mark_at_its_end_is_of_no_build(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert build_of(str(tmp_path / "file")) == b""


def test_a_file_that_is_not_there_is_of_no_build(tmp_path: Path) -> None:
    assert build_of(str(tmp_path / "nowhere")) == b""


def test_what_stands_behind_the_mark_is_the_build(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000 + MARK + b"0123")
    assert build_of(str(tmp_path / "file")) == b"0123"


def test_the_mark_is_the_one_that_the_build_writes() -> None:
    """It is built with standard modules alone, so the text stands there a second time."""
    assert re.findall(r'(?m)^MARK = "(.*)"$', ARCHIVE.read_text()) == [MARK.decode()]
