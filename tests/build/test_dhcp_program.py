"""The file of dhcp is a plugin and a daemon."""

import socket
import subprocess
import zipfile
from pathlib import Path

import pytest

from build.surroundings import DIST

pytestmark = pytest.mark.real
if not (DIST / "dhcp").exists():
    pytest.skip("needs make dist", allow_module_level=True)


def run(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([DIST / "dhcp", *words], env=environ, input="", capture_output=True, text=True, timeout=60)


def test_only_the_first_word_daemon_makes_it_one(tmp_path: Path) -> None:
    """With the flags of Go's daemon; a fork server is not asked."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(tmp_path / "server"))
        server.listen()
        server.setblocking(False)
        environ = {"CNI_FORKSERVER": str(tmp_path / "server"), "CNI_COMMAND": "ADD"}
        helped = run("daemon", "-h", **environ)
        assert helped.returncode == 0 and "-resendtimeout" in helped.stderr and helped.stdout == ""
        wrong = run("daemon", "--nothing", **environ)
        assert wrong.returncode == 2 and "flag provided but not defined: -nothing" in wrong.stderr
        with pytest.raises(BlockingIOError):
            server.accept()
    for words in ((), ("-h",), ("--daemon",), ("x", "daemon")):
        version = run(*words, CNI_COMMAND="VERSION", CNI_FORKSERVER="")
        assert version.returncode == 0 and "supportedVersions" in version.stdout, words


def test_no_other_file_has_the_daemon() -> None:
    """Python reads the whole directory of an archive at each start."""
    holders = set()
    for at in DIST.iterdir():
        if at.is_file() and not at.name.startswith(".") and zipfile.is_zipfile(at):
            with zipfile.ZipFile(at) as archive:
                if any(name.startswith("cni_dhcp_daemon/") for name in archive.namelist()):
                    holders.add(at.name)
    assert holders == {"dhcp"}
