"""cnitool: one verb for one network and one namespace, with the Go tool's arguments, environment and exit status.

``cnitool add|check|del|gc|status NETWORK NETNS``. Beyond Go's: ``--json`` for programs, errors that tell the place and
what to do, ``--timeout``, and a cache folder of one's own.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from libcni import gojson
from libcni.cniconfig import CNIConfig
from libcni.errors import CNIError, ConfigError, LibcniError, PluginFailed, PluginNotFound, SeveralErrors, code_of
from libcni.loading import DEFAULT_FOLDER, load_network_conf
from libcni.model import NetworkConfigList, RuntimeConf
from libcni.options import Options
from libcni.quoting import quote
from libcni.results import Result

_VERBS = {
    "add": "attach the namespace to the network, and print the result",
    "check": "compare the attachment with what add had left",
    "del": "take the attachment away",
    "gc": "take away every attachment of the network that the cache knows, other runtimes' too",
    "status": "ask whether an add would work",
}
_ENVIRONMENT = f"""environment:
  CNI_PATH     the folders of the plugins, separated by colons (required)
  NETCONFPATH  the folders of the configurations, separated by colons ({DEFAULT_FOLDER})
  CNI_IFNAME   the interface's name in the container where --ifname is not given (eth0)
  CNI_ARGS     arguments for the plugins, K=V;K=V
  CAP_ARGS     capabilities, a JSON object such as {{"portMappings": [{{"hostPort": 80, "containerPort": 80}}]}}
"""


class UsageError(LibcniError):
    """The arguments or the environment cannot be used."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cnitool",
        description="Attach a network namespace to a CNI network.",
        epilog=_ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="verb", metavar="add|check|del|gc|status")
    for verb, words in _VERBS.items():
        command = commands.add_parser(
            verb,
            help=words,
            description=words,
            epilog=_ENVIRONMENT,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("network", help="the network's name")
        command.add_argument("netns", help="the path of the network namespace")
        command.add_argument("more", nargs="*", help=argparse.SUPPRESS)
        command.add_argument("-i", "--ifname", default="", help="the interface's name in the container")
        command.add_argument("--json", action="store_true", help="print one JSON object, also for errors")
        command.add_argument("--timeout", type=float, help="seconds after which plugins are killed (no bound)")
        command.add_argument(
            "--undo", action="store_true", help="after an add that fails half-way, take away what it made"
        )
        command.add_argument(
            "--cache", default="", metavar="FOLDER", help="where attachments are remembered (/var/lib/cni)"
        )
    return parser


def parse_args(text: str) -> tuple[tuple[str, str], ...]:
    """``CNI_ARGS``: pairs in order; raises ``UsageError`` for what is no pair, also after a trailing semicolon."""
    pairs = []
    for pair in text.split(";") if text else ():
        parts = pair.split("=")
        if len(parts) != 2 or not all(parts):
            raise UsageError(f"invalid CNI_ARGS pair {quote(pair)}: write K=V;K=V, without a semicolon at the end")
        pairs.append((parts[0], parts[1]))
    return tuple(pairs)


def parse_capabilities(text: str) -> dict[str, Any]:
    """``CAP_ARGS``: a JSON object; raises ``UsageError``."""
    if not text:
        return {}
    try:
        found = gojson.decode(text.encode("utf-8", "surrogateescape"))
    except gojson.JSONError as error:
        raise UsageError(f"invalid CAP_ARGS: {error} at character {error.offset + 1}") from None
    if not isinstance(found, dict | None):
        raise UsageError("invalid CAP_ARGS: it must be a JSON object")
    return found or {}


def container_id(netns: str) -> str:
    """The id that the tool gives to a namespace, by its absolute path."""
    return f"cnitool-{hashlib.sha512(os.fsencode(netns)).hexdigest()[:20]}"


def runtime_conf(arguments: argparse.Namespace, environ: Mapping[str, str]) -> RuntimeConf:
    """The attachment that arguments and environment name; raises ``UsageError``."""
    netns = os.path.abspath(arguments.netns)
    return RuntimeConf(
        container_id=container_id(netns),
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
        cni.gc_network_list(net)
    else:
        cni.get_status_network_list(net)
    return None


def _call(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Result | None:
    folders = [folder for folder in environ.get("NETCONFPATH", "").split(":") if folder] or [DEFAULT_FOLDER]
    net = load_network_conf(folders, arguments.network)
    runtime = runtime_conf(arguments, environ)
    path = environ.get("CNI_PATH", "")
    options = Options(
        undo_failed_add=arguments.undo,
        timeout=arguments.timeout,
        status_timeout=arguments.timeout,
        report=lambda line: print(f"cnitool: {line}", file=sys.stderr),
    )
    cni = CNIConfig(path.split(":") if path else [], arguments.cache, options=options)
    return _run(arguments.verb, cni, net, runtime)


def _hint(error: BaseException) -> str:
    """What the user may do about an error; empty where the error itself says it."""
    causes = [error, *(getattr(error, "errors", ())), *([error.__cause__] if error.__cause__ else [])]
    for cause in causes:
        if isinstance(cause, PluginNotFound):
            return "CNI_PATH must name the folders that hold the plugins, separated by colons"
        if isinstance(cause, ConfigError) and str(cause).startswith("no net"):
            return 'NETCONFPATH names the folders of the configurations; the name is the key "name" in the file'
    return ""


def _described(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = {"code": code_of(error) or 0, "msg": str(error)}
    cause = error if isinstance(error, CNIError) else error.__cause__
    if isinstance(cause, CNIError):
        found["msg"] = cause.msg if cause is error else str(error)
        found |= {"details": cause.details} if cause.details and cause is error else {}
    if isinstance(cause, PluginFailed):
        found |= {name: value for name in ("path", "status", "stderr") if (value := getattr(cause, name))}
    if isinstance(error, ConfigError):
        found |= {"file": error.file} if error.file else {}
        found |= {"line": error.position.line, "column": error.position.column} if error.position else {}
    if isinstance(error, SeveralErrors):
        found["errors"] = [_described(one) for one in error.errors]
    notes = getattr(error, "__notes__", [])
    return found | ({"notes": notes} if notes else {})


def _tell(error: BaseException, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"ok": False, "error": _described(error)}, indent=4, ensure_ascii=False))
        return
    print(f"Error: {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", []):
        print(f"  {note}", file=sys.stderr)
    hint = _hint(error)
    if hint:
        print(f"  {hint}", file=sys.stderr)


def _arguments(argv: Sequence[str] | None, parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The arguments; exits with 0 for help, with 1 (as Go's tool) for what cannot be used."""
    try:
        return parser.parse_args(argv)
    except SystemExit as ended:
        raise SystemExit(1 if ended.code else 0) from None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one command; the answer is the exit status, 0 or 1."""
    parser = _parser()
    arguments = _arguments(argv, parser)
    if arguments.verb is None:
        parser.print_help()
        return 0
    try:
        result = _call(arguments, os.environ)
    except (CNIError, LibcniError, OSError) as error:
        _tell(error, arguments.json)
        return 1
    if arguments.json:
        shown = {"ok": True} if result is None else {"ok": True, "result": result.document()}
        print(json.dumps(shown, indent=4, ensure_ascii=False))
    elif result is not None:
        sys.stdout.write(result.encode(indent=4).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
