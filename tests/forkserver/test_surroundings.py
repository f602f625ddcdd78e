"""A served call has its caller's surroundings: a delegate that looks around sees the same as one started cold."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from forkserver.server import DIST, Node, Server, call, served_by, was_cold
from node.configuration import bridge
from node.plugin import LIMIT, Outcome

pytestmark = pytest.mark.real
Object = dict[str, Any]
KEPT_BY_LIBC = 1 << 31 | 1 << 32

# An IPAM plugin of another make that writes down what it sees.
SPY = """#!/bin/sh
cat > /dev/null
{
  pwd; umask; nice; ulimit -a; ulimit -Ha; env | sort
  cat /proc/self/oom_score_adj /mnt/spied 2>&1
  ls -l /proc/self/fd
  readlink /proc/$$/ns/*
  ls -id / /proc/1/root/ | sed 's/^ *//'
  grep -E '^(Sig[A-Z][a-z]|Cap|Cpus_allowed_list|Uid|Gid|NoNew|Seccomp)' /proc/self/status
} > "$SPY_SAYS" 2>&1
echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.2/24"}]}'
"""


@pytest.fixture
def spy(tmp_path: Path) -> Path:
    """A folder with the delegate in it."""
    folder = tmp_path / "spies"
    folder.mkdir()
    (folder / "spy").write_text(SPY)
    (folder / "spy").chmod(0o755)
    return folder


def seen(node: Node, server: Server | None, spy: Path, before: str, cwd: str = "/") -> tuple[str, str]:
    """What the delegate saw of an ADD that a shell started after ``before``, and what the call said on stderr."""
    pod = node.pod()
    environ = {
        **(server.environ if server else {"CNI_FORKSERVER": "", "CNI_DEBUG": "1"}),
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": f"{spy}:{DIST}",
        "SPY_SAYS": f"{spy}/says",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "ODD": "two\nlines = \udcff",
        "LISTEN_FDS": "3",
        "LC_CTYPE": "C.UTF-8",  # without it, Python sets it where the locale is C (PEP 538); the door in C does not
    }
    conf = bridge({"type": "spy"})
    with node.inside():
        done = subprocess.run(
            ["/bin/sh", "-c", f'{before}\nexec "$0"', node.binaries / "bridge"],
            input=json.dumps(conf),
            env=environ,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    assert done.returncode == 0, done
    if server:
        served_by(Outcome(0, done.stdout, done.stderr, None))
    report = (spy / "says").read_bytes().decode("utf-8", "replace")
    call(node, "DEL", conf, pod, None, CNI_PATH=f"{spy}:{DIST}", SPY_SAYS="/dev/null")
    report = re.sub(r"(?m)^l[r-][w-]x.* (\d+ -> [a-z/]*).*$", r"\1", report)
    # nobody can set these through the C library: a server's child has them as the server has
    report = re.sub(r"(?m)^(SigIgn:\t)(.*)$", lambda found: f"{found[1]}{int(found[2], 16) & ~KEPT_BY_LIBC:x}", report)
    same = report.replace(pod.container, "CTR").replace(pod.path, "POD")
    return re.sub(r"(?m)^(CNI_FORKSERVER=).*", r"\1", same), done.stderr


# Ignore signal 32, one of those that the C library keeps for itself, by the system call (rt_sigaction) under it.
IGNORE_32 = """
import ctypes, os, sys
number = {"x86_64": 13, "aarch64": 134}[os.uname().machine]
action = (ctypes.c_ulong * 4)(1)
if ctypes.CDLL(None, use_errno=True).syscall(number, 32, action, None, 8):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
UNUSUAL = {
    "nothing unusual": "",
    "umask": "umask 0137",
    "limits": "ulimit -n 300; ulimit -c 0; ulimit -Sf 100000; ulimit -s 4096; ulimit -u 5000; ulimit -t 77",
    "more limits than the server's": "ulimit -n 500000 && ulimit -l 123456",
    "priority": "renice -n 7 $$ > /dev/null",
    "OOM killer's score": "echo 321 > /proc/self/oom_score_adj; echo -222 > /proc/self/oom_score_adj",
    "CPUs": "taskset -p 2 $$ > /dev/null",
    "ignored signals": "trap '' HUP INT QUIT TERM USR1 RTMAX-3",
    "an environment with little in it": "unset CNI_DEBUG_X LISTEN_FDS ODD",
    "an ignored signal of the C library": f"exec /usr/bin/python3 -c '{IGNORE_32.replace(chr(39), chr(34))}' \"$0\"",
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_a_delegate_sees_the_callers_surroundings(node: Node, server: Server, spy: Path, what: str) -> None:
    """Each thing that a process inherits, taken over from the caller and not from the server."""
    cold, _ = seen(node, None, spy, UNUSUAL[what])
    warm, _ = seen(node, server, spy, UNUSUAL[what])
    assert cold == warm
    assert "10.9.9" not in cold and len(cold.splitlines()) > 60


IGNORING = """#!/usr/bin/python3
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv("BINARIES/bridge", ["BINARIES/bridge"])
"""
DELEGATES = {
    "that succeeds": """#!/bin/sh
[ $CNI_COMMAND != ADD ] || echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.9.9.2/24"}]}'
""",
    "that fails": """#!/bin/sh
[ $CNI_COMMAND != ADD ] || { echo '{"cniVersion": "1.0.0", "code": 77, "msg": "no more"}'; exit 1; }
""",
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("delegate", DELEGATES)
def test_a_caller_that_ignores_sigchld_learns_how_its_delegate_ended(
    node: Node, server: Server, tmp_path: Path, warm: bool, delegate: str
) -> None:
    """That is inherited from the runtime, and the kernel would keep no exit status."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("bridge", IGNORING), ("other", DELEGATES[delegate])):
        (folder / name).write_text(text.replace("BINARIES", str(node.binaries)))
        (folder / name).chmod(0o755)
    pod, conf = node.pod(), bridge({"type": "other"})
    before = node.snapshot()
    attachment = {"container": pod.container, "netns": pod.path, "binaries": str(folder)}
    outcome = node.cni("bridge", "ADD", conf, env=server.environ if warm else None, **attachment)
    assert was_cold(outcome) != warm
    if delegate == "that succeeds":
        assert outcome.result["ips"][0]["address"] == "10.9.9.2/24"
    else:
        assert outcome.error == {"cniVersion": "1.0.0", "code": 77, "msg": "no more"}
        assert node.snapshot() == before
    assert node.cni("bridge", "DEL", conf, env=server.environ if warm else None, **attachment).ok


def test_the_server_itself_is_not_changed_by_a_call(node: Node, server: Server, spy: Path) -> None:
    """What one caller has unusual the next one does not have."""
    before, _ = seen(node, server, spy, "")
    seen(node, server, spy, "; ".join(line for line in UNUSUAL.values() if line and "500000" not in line))
    after, _ = seen(node, server, spy, "")
    assert before == after


def test_the_working_directory_is_the_callers(node: Node, server: Server, spy: Path, tmp_path: Path) -> None:
    """Also one that has been removed."""
    (tmp_path / "a place").mkdir()
    warm, _ = seen(node, server, spy, "", str(tmp_path / "a place"))
    assert warm.startswith(f"{tmp_path}/a place\n")
    (tmp_path / "gone").mkdir()
    leave = f'rmdir "{tmp_path}/gone"'
    cold, _ = seen(node, None, spy, leave, str(tmp_path / "gone"))
    (tmp_path / "gone").mkdir()
    warm, _ = seen(node, server, spy, leave, str(tmp_path / "gone"))
    assert cold == warm


def other_mounts(node: Node, server: Server | None, spy: Path, then: str) -> str:
    """What the delegate sees when the caller has a mount namespace of its own, with a file that is only there."""
    inside = f'mount --make-rprivate /; mount -t tmpfs tmpfs /mnt; echo "only there" > /mnt/spied; {then}'
    report, _ = seen(node, server, spy, f'[ "$1" ] || exec unshare -m /bin/sh -c \'{inside}\' "$0"')
    return re.sub(r"mnt:\[\d+\]", "mnt:[OWN]", report)


def test_a_caller_in_another_mount_namespace_is_served_in_it(node: Node, server: Server, spy: Path) -> None:
    """Its files, and its root where that is another one too."""
    root = spy / "root"
    changed = (
        f'mkdir -p "{root}"; mount --rbind / "{root}"; mkdir -p "{root}/{spy}"; cd "{root}"; exec chroot "{root}" "$0"'
    )
    for then in ('exec "$0"', changed):
        cold, warm = other_mounts(node, None, spy, then), other_mounts(node, server, spy, then)
        assert cold == warm
        assert "only there" in warm


def test_a_caller_that_has_changed_its_root_is_served_below_it(node: Node, server: Server, spy: Path) -> None:
    """chroot(2) in the server's own mount namespace: paths mean what they mean to the caller."""
    root = f"/proc/{os.getpid()}/root"
    report, _ = seen(node, server, spy, f'[ "$1" ] || exec chroot "{root}" "$0"')
    assert report
