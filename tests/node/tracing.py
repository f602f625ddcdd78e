"""A plugin's call seen from below: the programs that it starts, and what it says to the kernel over netlink."""

import json
import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .chain import Chain
from .plugin import LIMIT, Object, environment

_CALL = re.compile(r"^\d+ +(\w+)\((\d+<[^>]*>)?(.*)$")


class Trace:
    """What one call did."""

    def __init__(self, lines: list[str], status: int, stdout: str) -> None:
        self.status, self.stdout = status, stdout
        self.programs: list[str] = []
        self.requests: list[str] = []
        self.answers = self.bytes = 0
        for line in lines:
            self._read(line)

    def _read(self, line: str) -> None:
        found = _CALL.match(line)
        if not found:
            return
        name, descriptor, rest = found.groups()
        if name == "execve" and rest.endswith(("= 0", "<unfinished ...>")):
            self.programs.append(rest.split('"')[1])
        if "NETLINK" not in (descriptor or ""):
            return
        value = rest.rpartition("= ")[2].split()[0]
        if name in ("sendto", "sendmsg", "write", "writev"):
            self.requests.append(rest)
        elif name in ("recvfrom", "recvmsg", "read") and value.isdecimal():
            self.answers += 1
            self.bytes += int(value)

    def dumps(self, subsystem: str) -> int:
        """How many requests to one of netfilter's subsystems ask for all that there is."""
        return sum(f"{subsystem}<<8" in one and "NLM_F_DUMP" in one for one in self.requests)


def trace(chain: Chain, verb: str, *, path: str | None = None, **keys: Any) -> Trace:
    """One verb of the chain's portmap, traced; ``path`` replaces the variable PATH."""
    place = chain.place("portmap")
    conf: Object = chain.configuration(place, **{"prevResult": chain.result or None, **keys})
    folder = chain.portmap_folder
    env = environment(
        verb, folder, CNI_IFNAME=chain.ifname, CNI_CONTAINERID=chain.pod.container, CNI_NETNS=chain.pod.path
    )
    if path is not None:
        env["PATH"] = path
    with tempfile.TemporaryDirectory() as at:
        log = Path(at, "log")
        options = ["-f", "-qq", "-yy", "-s", "512", "-e", "trace=execve,read,write,writev,%network", "-o", str(log)]
        given = [f"--env={name}={value}" for name, value in env.items()]
        cleared = [f"--env={name}" for name in os.environ if name not in env]
        with chain.node.inside():
            done = subprocess.run(
                ["/usr/bin/strace", *options, *cleared, *given, f"{folder}/portmap"],
                input=json.dumps(conf),
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        return Trace(log.read_text(errors="replace").splitlines(), done.returncode, done.stdout + done.stderr)


def without_programs(folder: Path, program: str) -> str:
    """A folder with a plugin's stand-in, which runs it where /usr/sbin is empty: nft, iptables and ip are there."""
    empty = folder / "empty"
    empty.mkdir(parents=True, exist_ok=True)
    hidden = f"mount --bind {shlex.quote(str(empty))} /usr/sbin && exec {shlex.quote(program)}"
    stand_in = folder / Path(program).name
    stand_in.write_text(f"#!/bin/sh\nexec unshare --mount /bin/sh -c {shlex.quote(hidden)}\n")
    stand_in.chmod(0o755)
    return str(folder)
