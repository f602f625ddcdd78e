"""Running another plugin as the specification says (SPEC.md, "Plugin Delegation"): found in CNI_PATH, fed on stdin.

A plugin of the same build runs in this process instead, which saves a second start of Python.
"""

import os
import sys

from cni import build, wire
from cni.errors import CNIError, NotAvailable, Refused
from cni.identity import build_of
from cni.settings import PREFIX, Key, Table, integer, member, part, string, within

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.skel import Call

# Seconds. DHCP is slow, and kubelet waits two minutes for the whole call. A delegate that follows a slow one (DEL after
# a failed ADD) gets the rest of the call's time, but at least the minimum.
TIMEOUT, CALL_TIME, TIMEOUT_MIN = 90.0, 100.0, 10.0
# The error object of the specification.
_ERROR = Table(
    Key("code", integer, 0, "", within(0, 1 << 63, "code is %d")), Key("msg", string, ""), Key("details", string, "")
)


def find(name: str, folders: list[str], error: type[CNIError] = CNIError) -> str:
    """The path of the first regular file with that name, executable or not, as in Go. Raises ``error``."""
    if not name:
        raise error("no plugin name provided", "set type to the plugin's name, that of ipam too")
    if "/" in name or "\0" in name or name in (".", ".."):
        raise error(f"invalid plugin name: {name}", "the name of a file in CNI_PATH, without a path")
    if not folders:
        raise error("no paths provided", "set CNI_PATH to the folders with the plugins")
    for folder in folders:
        path = f"{folder}/{name}"
        if os.path.isfile(path):
            return path
    fault = f'failed to find plugin "{name}" in path [{" ".join(folders)}]'
    raise error(fault, "install it there, or add its folder to CNI_PATH")


def run(call: "Call", name: str, verb: str, stdin: bytes | None = None) -> "Any":
    """Run the plugin ``name`` with ``verb``; returns the result of ADD, and None for other verbs.

    ``stdin`` replaces the call's configuration. Raises ``CNIError`` with the plugin's own error, or with code 0 and its
    output if it printed no error object; ``Refused`` if a plugin of the same build made nothing.
    """
    path = find(name, call.path)
    environ = {**call.environ, "CNI_COMMAND": verb}
    if stdin is None:
        stdin = call.stdin
    output = _run_in_process(call, path, name, environ, stdin) if _same_build(path) else None
    if output is None:
        output = _execute(call, path, environ, stdin)
    if verb != "ADD":
        return None
    try:
        return part({"result": wire.decode(output)}, "result", member)
    except CNIError as error:
        reason = error.msg.removeprefix("error unmarshall network config: ").removeprefix(PREFIX)
        raise CNIError(f"failed to unmarshal raw result: {reason}", f"{path} printed {_quoted(output)}") from None


def ready(call: "Call", name: str, stdin: bytes | None = None) -> None:
    """STATUS of the plugin ``name``; raises its error, or ``NotAvailable`` if it is missing or printed no error object."""
    find(name, call.path, NotAvailable)
    try:
        run(call, name, "STATUS", stdin)
    except CNIError as error:
        if error.code:
            raise
        raise NotAvailable(error.msg, error.details) from None


def lacks(error: CNIError, verb: str) -> bool:
    """Whether a plugin's error means that it does not know a verb of version 1.1.0.

    Go's plugins before 1.1.0 complain about the missing container id first, which GC and STATUS do not have.
    """
    return error.msg.endswith((f"unknown CNI_COMMAND: {verb}", "missing containerID"))


def _execute(call: "Call", path: str, environ: dict[str, str], stdin: bytes) -> bytes:
    """Run the plugin in its own process, within the rest of the call's time; returns its output."""
    from cni.kernel.process import UNKNOWN, execute

    status, output, noise = execute(path, environ, stdin, max(TIMEOUT_MIN, min(TIMEOUT, CALL_TIME - call.elapsed)))
    if status:
        error = _failure(status, output, noise)
        # without a message the output may be a result, but the exit status is unknown
        raise error if error.msg or status != UNKNOWN else _failure(status, b"", noise)
    if noise:
        call.say(noise.decode("utf-8", "replace").rstrip("\n"))
    return output


def _quoted(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return f'"{text[:500]}{"…" if len(text) > 500 else ""}"'


def _failure(status: str, output: bytes, noise: bytes) -> CNIError:
    if not output.strip():
        if noise.strip():
            return CNIError(f"netplugin failed: {_quoted(noise)}: {status}", code=0)
        return CNIError(f"netplugin failed with no error message: {status}", code=0)
    try:
        return CNIError(**part({"error": wire.decode(output)}, "error", _ERROR))
    except CNIError as error:
        text = f"netplugin failed but error parsing its diagnostic message {_quoted(output)}: {error}"
        return CNIError(text, code=0)


def _same_build(path: str) -> bool:
    own = build.encode() or build_of(getattr(globals().get("__loader__"), "archive", ""))
    return bool(own) and build_of(path) == own


def _importable(module: str, path: str = "") -> bool:
    """Whether a plugin's module can be imported from this process's archive, or from the archive at ``path``."""
    if path and path not in sys.path:
        sys.path.append(path)
    try:
        __import__(module)
    except ImportError as error:
        # an archive without this Python's pycs and without sources, such as the native file, cannot be imported either
        if isinstance(error, ModuleNotFoundError) and not f"{module}.".startswith(f"{error.name}."):
            raise
        return False
    return True


def _run_in_process(call: "Call", path: str, name: str, environ: dict[str, str], stdin: bytes) -> bytes | None:
    """Run a plugin of the same build in this process; returns its output, None for a renamed file."""
    from cni import skel

    module = f"cni_{name.replace('-', '_')}.plugin"
    if not (_importable(module) or _importable(module, os.path.abspath(path))):
        return None
    plugin = sys.modules[module].PLUGIN
    answered = skel.answer(plugin, environ, stdin, call.log, part_of=call)
    answered.close()
    fault = answered.error
    if fault is None:
        return answered.output
    # the class Refused matters to the plan of the calling plugin; the others do not
    raise (Refused if isinstance(fault, Refused) else CNIError)(fault.msg, fault.details, fault.code)
