"""One call of one CNI plugin as a process, held to the protocol's frame whatever comes out."""

import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .namespace import Netns

Object = dict[str, Any]

# Debian's containernetworking-plugins, the Go reference plugins: 1.1.1 in Debian 12 and 13, 1.9.1 in what comes after.
GO = "/usr/lib/cni"
# Ours, whatever is under test: the single files, or the folder in PYCNI_DIST, such as dist/native.
DIST = os.path.abspath(os.environ.get("PYCNI_DIST") or Path(__file__).parents[2] / "dist")
# The plugins under test.
SUBJECT = os.path.abspath(os.environ.get("PYCNI_BIN") or DIST)
# Every plugin of the tree: each is one file.
PLUGINS = tuple(sorted(at.name for at in (Path(__file__).parents[2] / "plugins").iterdir() if at.is_dir()))
# The socket of a fork server that is to serve the calls; empty for none, also where the machine has one.
FORKSERVER = os.environ.get("PYCNI_FORKSERVER", "")
# A verb takes a fraction of a second; emulated processors (the guest) are up to fifty times slower.
LIMIT = float(os.environ.get("PYCNI_CALL_SECONDS", "60"))


@dataclass(frozen=True)
class Outcome:
    """What a call left: its exit status, both streams, and the JSON document if there was one."""

    exit: int
    stdout: str
    stderr: str
    document: Object | None

    @property
    def result(self) -> Object:
        """The result of a call that succeeded."""
        assert self.exit == 0, f"the call failed: {self.stdout}{self.stderr}"
        assert self.document is not None, "success without a result"
        return self.document

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.exit == 0

    @property
    def error(self) -> Object:
        """The error object of a call that failed."""
        assert self.exit != 0, f"the call succeeded: {self.stdout}"
        assert self.document is not None
        return self.document

    @property
    def code(self) -> int:
        """The error's code; 0 is success."""
        return 0 if self.exit == 0 else int(self.error["code"])


def environment(verb: str, path: str, **variables: str) -> dict[str, str]:
    """A runtime's environment for a call: little besides the protocol's own variables."""
    served = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CNI_FORKSERVER": FORKSERVER}
    return {**served, "CNI_COMMAND": verb, "CNI_PATH": path, **variables}


def call(at: Netns, plugin: str, conf: Object | str, env: dict[str, str], binaries: str = SUBJECT) -> Outcome:
    """Run a plugin inside ``at``. Raises ``AssertionError`` if what it printed is not what the protocol allows."""
    stdin = conf if isinstance(conf, str) else json.dumps(conf)
    verb = env.get("CNI_COMMAND", "")
    with at.inside():
        done = subprocess.run(
            [f"{binaries}/{plugin}"], input=stdin, env=env, capture_output=True, text=True, timeout=LIMIT, cwd="/"
        )
    return held(plugin, verb, stdin, done.returncode, done.stdout, done.stderr)


def held(plugin: str, verb: str, stdin: str, status: int, stdout: str, stderr: str) -> Outcome:
    """What a call left, held to the protocol: raises ``AssertionError`` where that allows something else."""
    said = f"{plugin} {verb}: exit {status}\nstdout: {stdout}\nstderr: {stderr}"
    try:
        document = json.loads(stdout) if stdout.strip() else None
    except ValueError as error:
        raise AssertionError(f"not one JSON document ({error}): {said}") from None
    if status:
        _expect_error_object(status, document, said)
    elif verb == "ADD":
        version = (json.loads(stdin).get("cniVersion") if stdin else "") or "0.1.0"
        assert isinstance(document, dict) and document["cniVersion"] == version, (
            f"no result in version {version}: {said}"
        )
    elif verb == "VERSION":
        assert isinstance(document, dict), f"no version object: {said}"
    else:
        assert stdout == "", f"output where none belongs: {said}"
    return Outcome(status, stdout, stderr, document)


def _expect_error_object(status: int, document: Any, said: str) -> None:
    assert status == 1, f"an exit status of neither success nor error: {said}"
    assert isinstance(document, dict), f"a failure without an error object: {said}"
    assert type(document.get("code")) is int and document["code"] >= 0, f"no code: {said}"
    assert isinstance(document.get("msg"), str), f"no msg: {said}"
    assert isinstance(document.get("details", ""), str), f"details are no text: {said}"
    assert set(document) <= {"cniVersion", "code", "msg", "details"}, f"more than an error object holds: {said}"


@cache
def subject_is_old_go() -> bool:
    """Whether the plugins under test are Go's of the 1.1 line, which lack much of what newer ones and ours do."""
    return _is_old_go(SUBJECT)


def go_obeys(backend: str) -> bool:
    """Whether Debian's Go plugins have this backend. Those of the 1.1 line have iptables alone, and ignore the key."""
    return backend == "iptables" or not _is_old_go(GO)


@cache
def _is_old_go(folder: str) -> bool:
    try:
        program = Path(folder, "bridge").read_bytes()
    except OSError:
        return False
    if not program.startswith(b"\x7fELF"):
        return False
    versions = subprocess.run(
        [f"{folder}/bridge"], env={"CNI_COMMAND": "VERSION"}, capture_output=True, text=True, timeout=LIMIT
    )
    return "1.1.0" not in json.loads(versions.stdout)["supportedVersions"]
