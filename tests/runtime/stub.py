"""Plugins that do nothing but tell how they were called, and end as the test wants: real files, really executed."""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROGRAM = """#!/usr/bin/python3 -IS
import base64, json, os, signal, sys, time
folder, name = os.path.split(os.path.abspath(__file__))
stdin = sys.stdin.buffer.read()
environ = {key: value for key, value in os.environ.items() if key.startswith("CNI_")}
call = {"plugin": name, "environ": environ, "stdin": base64.b64encode(stdin).decode(), "pid": os.getpid()}
with open(folder + "/calls", "a") as log:
    log.write(json.dumps(call) + "\\n")
with open(folder + "/" + name + ".behaviour") as file:
    behaviours = json.load(file)
wanted = behaviours.get(environ["CNI_COMMAND"], behaviours.get("", {}))
def wait_for(path):
    gate = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(gate, True)
    os.read(gate, 1)
if wanted.get("ignore"):
    for number in (1, 2, 15):
        signal.signal(number, signal.SIG_IGN)
if wanted.get("wait_for"):
    wait_for(wanted["wait_for"])
if wanted.get("daemon") and os.fork() == 0:
    wait_for(wanted["daemon"])
    with open(folder + "/daemons", "a") as log:
        log.write("ended\\n")
    os._exit(0)
sys.stderr.write(wanted.get("stderr", ""))
sys.stderr.flush()
out = wanted.get("stdout", "")
if wanted.get("echo") and environ["CNI_COMMAND"] == "ADD":
    out = json.dumps(json.loads(stdin)["prevResult"])
os.write(1, out.encode()) if len(out) < 4096 else sys.stdout.write(out)
sys.stdout.write("x" * wanted.get("flood", 0))
sys.stdout.flush()
time.sleep(wanted.get("sleep", 0))
os._exit(wanted.get("exit", 0))
"""


class Gate:
    """A named pipe before which stubs wait (``wait_for``) as long as this process holds its other end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._held = os.open(path, os.O_RDWR)

    @property
    def closed(self) -> bool:
        """Whether stubs wait here."""
        return self._held >= 0

    def open(self) -> None:
        """Let all pass, those that come later too."""
        if self._held >= 0:
            os.close(self._held)
        self._held = -1


@dataclass(frozen=True)
class Called:
    """One call that a stub noted."""

    plugin: str
    environ: dict[str, str]
    stdin: bytes
    pid: int

    @property
    def verb(self) -> str:
        return self.environ["CNI_COMMAND"]

    @property
    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdin)
        return found


class Stubs:
    """A folder of such plugins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)

    def add(self, name: str, default: dict[str, Any] | None = None, **verbs: dict[str, Any]) -> None:
        """A plugin; a behaviour: ``stdout``, ``stderr``, ``exit``, ``sleep``, ``flood``, ``daemon``, ``wait_for``, ``echo``,
        ``ignore`` (signals that ask it to end).

        ``wait_for`` and ``daemon`` are paths of gates: before the one it waits itself, before the other one that it
        leaves behind, with its pipes.
        """
        at = self.folder / name
        (self.folder / f"{name}.behaviour").write_text(json.dumps({"": default or {}, **verbs}))
        if not at.exists():
            at.write_text(_PROGRAM)
            at.chmod(0o755)

    @property
    def calls(self) -> list[Called]:
        """The calls so far, in order."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        return [Called(**{**one, "stdin": base64.b64decode(one["stdin"])}) for one in map(json.loads, lines)]

    @property
    def order(self) -> list[str]:
        """``VERB plugin`` of the calls so far."""
        return [f"{call.verb} {call.plugin}" for call in self.calls]

    @property
    def daemons(self) -> int:
        """How many of those that stubs left behind have ended."""
        log = self.folder / "daemons"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def forget(self) -> None:
        """Forget the calls so far."""
        (self.folder / "calls").unlink(missing_ok=True)


def result(version: str = "1.0.0", address: str = "10.1.2.3/24", **more: Any) -> dict[str, Any]:
    """What a stub that succeeds may print."""
    return {"stdout": json.dumps({"cniVersion": version, "ips": [{"address": address}], **more})}


def error(code: int, msg: str, details: str = "") -> dict[str, Any]:
    """What a stub that fails may print."""
    return {"stdout": json.dumps({"code": code, "msg": msg, "details": details}), "exit": 1}
