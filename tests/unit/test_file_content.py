"""Reading a regular file, and nothing that blocks or does not end."""

import errno
import os
import socket
from pathlib import Path

import pytest

from cni import file_content


def test_a_file_is_read_to_its_end_within_the_bound(tmp_path: Path) -> None:
    """At the bound it is whole, a byte above it is refused; one in /proc tells no size."""
    file = tmp_path / "file"
    for size in (0, 1, 65536, 200_000):
        file.write_bytes(os.urandom(size))
        assert file_content.read(str(file), size) == file.read_bytes()
    with pytest.raises(OSError, match="more than 199999 bytes") as refused:
        file_content.read(str(file), 199_999)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(file))
    assert file_content.read("/proc/self/cmdline", 1 << 20)
    assert file_content.read("/dev/null", 0) == b""


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder", "link"])
def test_what_is_no_file_is_told_and_its_descriptor_given_back(tmp_path: Path, kind: str) -> None:
    at = tmp_path / "at"
    listener = socket.socket(socket.AF_UNIX)
    if kind == "pipe":
        os.mkfifo(at)
    elif kind == "socket":
        listener.bind(str(at))
    elif kind == "folder":
        at.mkdir()
    else:
        at.symlink_to("/dev/zero")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError) as refused:
        file_content.read(str(at), 1 << 20, os.O_NOFOLLOW if kind == "link" else 0)
    assert os.listdir("/proc/self/fd") == before
    listener.close()
    assert refused.value.filename == str(at)
    assert isinstance(refused.value, file_content.NotRegular) == (kind in ("pipe", "device"))
    assert refused.value.errno == {"socket": errno.ENXIO, "folder": errno.EISDIR, "link": errno.ELOOP}.get(
        kind, errno.EINVAL
    )
