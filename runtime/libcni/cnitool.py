"""cnitool: run one verb for a network and a namespace. Arguments, environment and exit status are those of Go's tool.

``cnitool add|check|del|gc|status NETWORK NETNS``. Go's tool does not have ``--json``, ``--timeout``, ``--undo``,
``--cache``, ``del --all`` and ``gc --leftovers``. Errors name the place in the file and what to do.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from cni.names import raw_sha512
from libcni import _commandline, _gojson
from libcni._cache import is_gone
from libcni._cniconfig import CNIConfig
from libcni._commandline import Arguments, UsageError
from libcni._errors import CNIError, ConfigError, LibcniError, PluginFailed, PluginNotFound, SeveralErrors, code_of
from libcni._execution import ProcessExec
from libcni._loading import DEFAULT_FOLDER, load_network_conf
from libcni._model import GCAttachment, NetworkConfigList, RuntimeConf
from libcni._options import Options
from libcni._quoting import quote
from libcni._results import Result

__all__ = ["main"]
_INTERRUPTED = 130


def parse_args(text: str) -> tuple[tuple[str, str], ...]:
    """The pairs of ``CNI_ARGS``, in order. Raises ``UsageError`` for anything else, such as a semicolon at the end."""
    pairs = []
    for pair in text.split(";") if text else ():
        parts = pair.split("=")
        if len(parts) != 2 or not all(parts):
            raise UsageError(f"invalid CNI_ARGS pair {quote(pair)}: write K=V;K=V, without a semicolon at the end")
        pairs.append((parts[0], parts[1]))
    return tuple(pairs)


def parse_capabilities(text: str) -> dict[str, Any]:
    """The JSON object in ``CAP_ARGS``. Raises ``UsageError``."""
    if not text:
        return {}
    try:
        found = _gojson.decode(text.encode("utf-8", "surrogateescape"))
    except _gojson.JSONError as error:
        raise UsageError(f"invalid CAP_ARGS: {error} at character {error.offset + 1}") from None
    if not isinstance(found, dict | None):
        raise UsageError("invalid CAP_ARGS: it must be a JSON object")
    return found or {}


def container_id(netns: str) -> str:
    """The container id for a namespace, derived from its absolute path as in Go's tool."""
    return f"cnitool-{raw_sha512(os.fsencode(netns)).hex()[:20]}"


def runtime_conf(arguments: Arguments, environ: Mapping[str, str]) -> RuntimeConf:
    """The attachment that the arguments and the environment name. Raises ``UsageError``."""
    netns = os.path.abspath(arguments.netns) if arguments.netns else ""
    if netns.startswith("//"):  # abspath keeps two slashes, Go's filepath.Abs does not
        netns = netns[1:]
    return RuntimeConf(
        container_id=arguments.container or container_id(netns),
        netns=netns,
        if_name=arguments.ifname or environ.get("CNI_IFNAME", "") or "eth0",
        args=parse_args(environ.get("CNI_ARGS", "")),
        capability_args=parse_capabilities(environ.get("CAP_ARGS", "")),
    )


def _run(verb: str, cni: CNIConfig, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
    if verb == "add":
        return cni.add_network_list(net, runtime)
    if verb == "check":
        cni.check_network_list(net, runtime)
    elif verb == "del":
        cni.del_network_list(net, runtime)
    elif verb == "gc":
        cni.gc_network_list(net, partial(_live_attachments, cni, net))
    else:
        cni.get_status_network_list(net)
    return None


def _live_attachments(cni: CNIConfig, net: NetworkConfigList) -> list[GCAttachment]:
    """The attachments whose namespace exists, or whose cache file names no namespace."""
    cached = [attachment for attachment in cni.get_cached_attachments() if attachment.network == net.name]
    return [found.gc_attachment() for found in cached if not found.netns or not is_gone(found.netns)]


def _report(line: str) -> None:
    if not line.startswith("ADD of "):  # these lines are also notes of the error, and printed with it
        _print_error(f"cnitool: {line}")


def _call(arguments: Arguments, environ: Mapping[str, str]) -> Result | None:
    folders = [folder for folder in environ.get("NETCONFPATH", "").split(":") if folder] or [DEFAULT_FOLDER]
    net = None if arguments.all else load_network_conf(folders, arguments.network)
    runtime = runtime_conf(arguments, environ)
    path = environ.get("CNI_PATH", "")
    options = Options(
        undo_failed_add=arguments.undo,
        undo_timeout=arguments.undo_timeout or Options().undo_timeout,
        timeout=arguments.timeout,
        report=_report,
    )
    cni = CNIConfig(path.split(":") if path else [], arguments.cache, ProcessExec(_Stderr()), options)
    if net is None:
        cni.del_cached_attachments(runtime.container_id)
        return None
    if arguments.verb == "gc" and not arguments.leftovers:
        cni._run(cni._operations.gc_network_lists([net], None))  # as Go's tool: nothing is valid, and no list is sent
        return None
    return _run(arguments.verb, cni, net, runtime)


def _hint(error: BaseException) -> str:
    """What the user can do about an error; empty if the error itself says it."""
    causes = [error, *(getattr(error, "errors", ())), *([error.__cause__] if error.__cause__ else [])]
    for cause in causes:
        if isinstance(cause, PluginNotFound):
            return "CNI_PATH must name the folders that hold the plugins, separated by colons"
        if isinstance(cause, ConfigError) and str(cause).startswith("no net"):
            return 'NETCONFPATH names the folders of the configurations; the name is the key "name" in the file'
    return ""


def _described(error: BaseException) -> dict[str, Any]:
    """An error as JSON members: the protocol's ``code``, ``msg`` and ``details``, and where it happened."""
    own = isinstance(error, CNIError)
    found: dict[str, Any] = {
        "code": code_of(error) or 0,
        "msg": error.msg if isinstance(error, CNIError) else str(error),
    }
    plugin = error if own else error.__cause__
    if isinstance(error, CNIError) and error.details:
        found["details"] = error.details
    if isinstance(plugin, PluginFailed):
        found |= {name: value for name in ("path", "status", "stderr") if (value := getattr(plugin, name))}
    if isinstance(error, ConfigError):
        found |= {"file": error.file} if error.file else {}
        found |= {"line": error.position.line, "column": error.position.column} if error.position else {}
    if isinstance(error, SeveralErrors):
        found["errors"] = [_described(part) for part in error.errors]
    notes = getattr(error, "__notes__", [])
    return found | ({"notes": notes} if notes else {})


class _Stderr:
    """Standard error. It is no failure if it is closed or cannot be written."""

    def write(self, text: str) -> None:
        """Write the text without buffering."""
        try:
            if sys.stderr is not None:
                sys.stderr.write(text)
                sys.stderr.flush()
        except OSError:
            sys.stderr = None  # the interpreter would write again when it exits, and change the exit status


def _print_error(text: str) -> None:
    """Print a line on standard error."""
    _Stderr().write(f"{text}\n")


def _write(data: bytes) -> int:
    """Write to standard output, and return the exit status."""
    try:
        if sys.stdout is None:
            raise OSError("it is closed")
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # the interpreter would write again when it exits
        _print_error(f"Error: cannot write to standard output: {error.strerror or error}")
        return 1
    return 0


def _document(value: Mapping[str, Any]) -> bytes:
    return _gojson.encode(dict(value), sort=False, indent=4) + b"\n"


def _fail(error: BaseException, as_json: bool) -> int:
    if as_json:
        return _write(_document({"ok": False, "error": _described(error)})) or 1
    lines = [f"Error: {error}", *(f"  {note}" for note in getattr(error, "__notes__", []))]
    hint = _hint(error)
    _print_error("\n".join([*lines, f"  {hint}"] if hint else lines))
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status: 0, 1, or 130 if it was interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        arguments = _commandline.parse(argv)
    except UsageError as error:
        if _commandline.wants_json(argv):
            return _fail(error, True)
        _print_error(f"Error: {error}\n\n{_commandline.usage()}")
        return 1
    if arguments.help:
        return _write(_commandline.usage(arguments.verb).encode())
    try:
        result = _call(arguments, os.environ)
    except (CNIError, LibcniError, OSError) as error:
        return _fail(error, arguments.json)
    except KeyboardInterrupt as error:
        notes = getattr(error, "__notes__", [])
        _print_error(
            "\n".join(["Error: interrupted; the plugin that ran was killed", *(f"  {note}" for note in notes)])
        )
        return _INTERRUPTED
    if arguments.json:
        return _write(_document({"ok": True} if result is None else {"ok": True, "result": result.document()}))
    return 0 if result is None else _write(result.encode(indent=4))


if __name__ == "__main__":
    sys.exit(main())
