"""A root file system that holds the native file and nothing else, and calls in it whose openings of files are recorded."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from node.plugin import LIMIT, Object, Outcome, environment, held
from node.topology import Node, Pod

NATIVE = Path(__file__).parents[2] / "dist/native"
FILE = NATIVE / "pycni"
# Everything that a call may open.
ALLOWED = re.compile(
    r"/bin/|/proc/self/exe|/proc/(self|thread-self|\d+)/|/proc/sys/net/|/proc/net/|/proc/sys/vm/overcommit_memory$"
    r"|/sys/class/net|/sys/devices/|/run/cni/|/var/run/netns/"
    r"|/run/netns/|/var/lib/cni/|/run/cni-forkserver|/run/xtables.lock$|/dev/null$"
)
_EXECUTED = re.compile(r'execve\("([^"]*)"')
_OPENED = re.compile(r'(?:open|openat|openat2|creat|execve)\((?:AT_FDCWD, |\d+<[^>]*>, )?"([^"]*)"')
# The namespace of mounts is new. The root is read-only; /run and /var are the machine's, and can be written.
_ENTER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
for at in proc sys run var/lib/cni; do mount --rbind "/$at" "$1/$at"; done
mount -o remount,bind,ro "$1"
root=$1; shift
exec chroot "$root" "$@"
"""


class Root:
    """The root file system."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.opened, self.executed = folder, set[str](), set[str]()
        for name in ("bin", "proc", "sys", "run", "var/lib/cni"):
            (folder / name).mkdir(parents=True)
        (folder / "var/run").symlink_to("/run")
        shutil.copy2(FILE, folder / "bin/pycni")

    def link(self, *names: str) -> None:
        """Make links to the file."""
        for name in names:
            (self.folder / "bin" / name).symlink_to("pycni")

    def run(
        self, command: list[str], stdin: str = "", env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program of the root, and record what it opens."""
        log = self.folder.with_name(f"{self.folder.name}.log")
        # a filter of seccomp(2) stops each call that opens a file
        calls = "trace=open,openat,openat2,creat,execve"
        traced = ["strace", "-f", "--seccomp-bpf", "-qq", "-s", "4096", "-o", str(log), "-e", calls]
        entered = ["unshare", "-m", "/bin/sh", "-c", _ENTER, "sh", str(self.folder), *command]
        variables = [f"-E{name}={value}" for name, value in (env or {}).items()]
        done = subprocess.run(
            [*traced, *variables, *entered],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        _, found, after = log.read_text().partition(f'execve("{command[0]}"')
        assert found, done
        self.opened |= set(_OPENED.findall(after))
        self.executed |= set(_EXECUTED.findall(after))
        return done

    def call(self, node: Node, verb: str, conf: Object, pod: Pod | None = None, **env: str) -> Outcome:
        """One verb of a plugin on the node, in the root."""
        variables = environment(verb, "/bin", CNI_IFNAME="eth0", **env)
        if pod:
            variables |= {"CNI_CONTAINERID": pod.container, "CNI_NETNS": pod.path}
        stdin = json.dumps(conf)
        with node.inside():
            done = self.run([f"/bin/{conf['type']}"], stdin, variables)
        return held(conf["type"], verb, stdin, done.returncode, done.stdout, done.stderr)

    def strange(self) -> set[str]:
        """What was opened and is not allowed, whether it exists or not."""
        return {path for path in self.opened if not ALLOWED.match(path)}
