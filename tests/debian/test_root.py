"""The root of another release: what it has, and what stays of a command that ran there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from debian import root
from debian.entering import CHECKOUT

RELEASE = "trixie"
inside = pytest.mark.skipif(not root.made(RELEASE), reason="there is no root of Debian 13: make test-trixie")


def ran(*command: str, release: str = RELEASE) -> "subprocess.CompletedProcess[str]":
    program = Path(__file__).with_name("run")
    return subprocess.run([program, release, *command], capture_output=True, text=True, timeout=120)


def test_the_root_has_the_packages_of_make_test() -> None:
    """So nothing is missing that `make test` would install; the root has no network for it."""
    makefile = (CHECKOUT / "Makefile").read_text().replace("\\\n", " ")
    for name in ("DEMO_PACKAGES", "TEST_PACKAGES", "NATIVE_PACKAGES"):
        (line,) = re.findall(rf"^{name} :?= (.*)$", makefile, re.MULTILINE)
        wanted = set(re.findall(r"(?:^|\s)([a-z][a-z0-9.+-]+)", re.sub(r"=(\$\(.*?\)\)\S*|\S*)|\$\(\w+\)", " ", line)))
        assert wanted <= set(root.PACKAGES)


@pytest.mark.parametrize("name", ["", "../x", "Trixie", "a b"])
def test_a_release_that_is_none_is_refused(name: str) -> None:
    done = ran("true", release=name)
    assert done.returncode == 1 and f"{name!r} is not the name of a Debian release" in done.stderr


@inside
def test_a_command_is_on_the_root_and_in_the_checkout() -> None:
    done = ran("sh", "-c", "cat /etc/debian_version; pwd; ls /sys/class/net; test -d /lib/modules/../python3.13")
    assert done.stdout.split()[0].startswith("13.")
    assert done.stdout.split()[1:3] == [str(CHECKOUT), "lo"]
    assert done.stderr == ""


@inside
@pytest.mark.parametrize(
    ("command", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("kill -9 1; exit 3", 3), ("/bin/false & exit 4", 4)]
)
def test_the_status_is_the_commands(command: str, status: int) -> None:
    assert ran("sh", "-c", command).returncode == status


@inside
def test_a_command_that_is_missing_is_named() -> None:
    done = ran("no-such-program")
    assert (done.returncode, done.stderr) == (127, "no-such-program: No such file or directory\n")


@inside
def test_nothing_stays() -> None:
    """Neither a file outside of the checkout, a mount, nor a process."""
    before = Path("/proc/self/mountinfo").read_text()
    mark = f"{sys.executable}-left"
    script = (
        f"echo x >/etc/left; mount -t tmpfs x /mnt; setsid sh -c 'sleep 1000; : {mark}' >/dev/null 2>&1 & echo made"
    )
    assert ran("sh", "-c", script).stdout == "made\n"
    assert ran("ls", "/etc/left", "/mnt").stdout == "/mnt:\n"
    assert Path("/proc/self/mountinfo").read_text() == before
    for at in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert mark not in at.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
