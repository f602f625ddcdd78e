"""The frame of a call: reads environment and standard input, runs one verb of a plugin, prints one document.

Faults are reported in a fixed order (docs/compatibility/frame.md, 3 and 4): a malformed variable, missing variables,
standard input, its JSON, the network's name, the verb, the version, a namespace that is the plugin's own, then the
plugin's. This module imports nothing that VERSION does not need.
"""

import _signal  # type: ignore[import-not-found]  # `signal` imports enum
import os
from time import monotonic

from cni import environment, versions, wire
from cni.errors import CNIError, DecodingFailure, InvalidEnvironment, InvalidNetns, IOFailure
from cni.names import check_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from cni.plan import Observer, Part
    from cni.result import Result
    from cni.site import Site

    class Log(Protocol):
        """The output for people."""

        def write(self, text: str, /) -> object:
            """Print a whole line."""


# Our release, and the release of the reference plugins that we are compatible with: runtimes look for the latter.
VERSION, REFERENCE = versions.RELEASE, "1.9.1"
_VERBS = ("ADD", "DEL", "CHECK", "GC", "STATUS")
_OWN_NAMESPACE = "/proc/thread-self/ns/net"


class Plugin:
    """A plugin: its type and its package. ``cni.verbs`` imports the package's modules when a verb needs them."""

    __slots__ = ("locked", "namespace", "package", "type")

    def __init__(self, type: str, package: str, namespace: str = "needed", locked: bool = True) -> None:
        """``namespace``: the container's namespace is "needed", "used" if it exists, or "unused".

        ``locked``: ADD and DEL lock the attachment. A plugin whose daemon orders its calls does without.
        """
        self.type = type
        self.package = package
        self.namespace = namespace
        self.locked = locked

    def serve(self, call: "Call") -> "Result | None":
        """Serve a verb; the result is ADD's. Raises ``CNIError``."""
        from cni.verbs import VERBS

        return VERBS[call.verb](self, call)


class Call:
    """One call of one verb, after the checks of the frame."""

    __slots__ = (
        "_part_of", "_site", "_steps", "attachment", "began", "config", "environ", "log", "netns", "stdin", "verb",
        "version", "watch",
    )  # fmt: skip

    def __init__(
        self,
        environ: "Mapping[str, str]",
        stdin: bytes,
        log: "Log",
        watch: "Observer | None" = None,
        part_of: "Call | None" = None,
    ) -> None:
        """Read the configuration; raises ``DecodingFailure``, ``InvalidConfig`` (the name), ``IncompatibleVersion``.

        ``part_of`` is the call of a plugin that runs this one in its process; both share time, observer and node.
        """
        self.log = log
        self._steps: list[tuple[str, float]] = [("start", monotonic())]
        # monotonic time
        self.began: float = self._steps[0][1] if part_of is None else part_of.began
        self.watch: Observer | None = watch if part_of is None else part_of.watch
        self._part_of = part_of
        self._site: Site | None = None
        self.environ = environ
        self.stdin = stdin
        self.verb = environ["CNI_COMMAND"]
        self.netns = environ.get("CNI_NETNS", "")
        self.version = ""
        self.config = _configuration(stdin)
        name = _member(self.config, "name", "error unmarshall network config")
        check_network(name)
        from cni.attachment import Attachment  # not needed by VERSION

        self.attachment = Attachment(name, environ.get("CNI_CONTAINERID", ""), environ.get("CNI_IFNAME", ""))
        if self.verb not in _VERBS:
            fault = f"unknown CNI_COMMAND: {self.verb}"
            raise InvalidEnvironment(fault, "the verbs are ADD, DEL, CHECK, GC, STATUS, VERSION")
        self.version = _member(self.config, "cniVersion", "decoding version from network config") or "0.1.0"
        versions.gate(self.verb, self.version)

    def without_namespace(self) -> None:
        """Continue as if the container's namespace were gone, for delegates too."""
        self.environ = {**self.environ, "CNI_NETNS": ""}
        self.netns = ""

    @property
    def network(self) -> str:
        """The network's name."""
        return self.attachment.network

    @property
    def path(self) -> list[str]:
        """The folders of ``CNI_PATH``; empty elements are skipped."""
        return [folder for folder in self.environ.get("CNI_PATH", "").split(":") if folder]

    @property
    def site(self) -> "Site":
        """The attachment, node and container that the call works on; a part of another call shares its node."""
        if self._site is None:
            from cni.site import Site

            node = None if self._part_of is None else self._part_of.site.node
            self._site = Site(self.attachment, self.netns, node, self.say, self.previous)
        return self._site

    def close(self) -> None:
        """Close what the call has opened; not the node of another call."""
        if self._site is not None:
            self._site.close()
            if self._part_of is None:
                self._site.node.close()

    @property
    def elapsed(self) -> float:
        """Seconds since the call began."""
        return monotonic() - self.began

    def say(self, line: str) -> None:
        """Print a line on standard error."""
        self.log.write(f"{line}\n")

    def step(self, name: str) -> None:
        """Record the end of a step, for CNI_DEBUG."""
        self._steps.append((name, monotonic()))

    def observe(self, step: str, part: "Part", moment: str) -> None:
        """The executor's observer: records the times."""
        if self.watch is not None:
            self.watch(step, part, moment)
        if moment == "after":
            self.step(type(part).__name__)

    def previous(self) -> "Result | None":
        """``prevResult`` in the newest shape, or None; raises ``DecodingFailure``, ``InvalidConfig``."""
        from cni.result import parse_previous
        from cni.settings import chosen

        document = chosen(self.config, "prevResult")
        return None if document is None else parse_previous(document, self.version)

    def trace(self, plugin: str) -> None:
        """Print the times, for CNI_DEBUG."""
        steps = zip(self._steps, self._steps[1:], strict=False)
        times = ", ".join(f"{name} {(now - before) * 1000:.1f}" for (_, before), (name, now) in steps)
        whole = (monotonic() - self._steps[0][1]) * 1000
        self.say(f"{plugin} {self.verb} {self.attachment} {whole:.1f} ms: {times}")


def _configuration(stdin: bytes) -> "dict[str, Any]":
    config = wire.decode(stdin)
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise DecodingFailure("error unmarshall network config: the top level must be an object")
    return config


def _member(config: "dict[str, Any]", name: str, fault: str) -> str:
    folded, found = wire.fold(name), ""
    for candidate, value in config.items():
        if wire.fold(candidate) == folded and value is not None:
            if not isinstance(value, str):
                raise DecodingFailure(f"{fault}: {name} must be a string")
            found = value
    return found


def _is_own_namespace(environ: "Mapping[str, str]") -> bool:
    """Whether CNI_NETNS is the plugin's own namespace, without CNI_NETNS_OVERRIDE; raises ``InvalidNetns``.

    False if CNI_NETNS cannot be opened: the plugin decides about that later.
    """
    if environment.overridden(environ):
        return False
    try:
        theirs = os.stat(environ.get("CNI_NETNS", ""))
    except (OSError, ValueError):
        return False
    try:
        ours = os.stat(_OWN_NAMESPACE)
    except OSError as error:
        raise InvalidNetns("get plugin's netns failed", str(error)) from None
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


def _dispatch(plugin: Plugin, call: Call) -> bytes:
    if call.verb not in ("ADD", "DEL"):
        return _served(plugin, call)
    if _is_own_namespace(call.environ):
        if call.verb == "ADD":
            fault = "plugin's netns and netns from CNI_NETNS should not be the same"
            raise InvalidNetns(fault, "nothing was changed; set CNI_NETNS_OVERRIDE=1 if this is meant")
        # for example /proc/PID/ns/net, where another process has the PID now: DEL must still clean up the node
        call.say(f"{plugin.type}: CNI_NETNS is the plugin's own namespace and not the container's: taken for gone")
        call.without_namespace()
    if not plugin.locked:
        return _served(plugin, call)
    from cni.lock import AttachmentLock

    with AttachmentLock(call.site.node.locks, plugin.type, call.attachment):
        return _served(plugin, call)


def _served(plugin: Plugin, call: Call) -> bytes:
    call.step("frame")
    result = plugin.serve(call)
    if result is None:
        return b""
    return wire.encode(result.document(call.version), 4).encode()


def _traced(error: BaseException) -> str:
    """The traceback; only the error if the import fails, as without a free descriptor."""
    try:
        import traceback

        return "".join(traceback.format_exception(error))
    except Exception:
        return f"{error!r}\n"


def _explained(error: BaseException, plugin: Plugin, debug: bool, log: "Log") -> CNIError:
    """Any exception as a ``CNIError``. An unexpected one gets its place in the code as details."""
    if isinstance(error, CNIError):
        return error
    if debug:
        log.write(_traced(error))
    notes = getattr(error, "__notes__", [])
    if isinstance(error, OSError):
        return CNIError(f"{plugin.type}: {error}", "; ".join(notes))
    place, at = error.__traceback__, ""
    while place is not None:
        at = f"{place.tb_frame.f_code.co_name}, line {place.tb_lineno}"
        place = place.tb_next
    details = "; ".join([f"in {at}", "set CNI_DEBUG=1 for the traceback", *notes])
    return CNIError(f"{plugin.type}: {type(error).__name__}: {error}", details)


class Answer:
    """A call's output, and the error that it was made of. Closing it may wait for the kernel (``Later``)."""

    __slots__ = ("call", "error", "output")

    def __init__(self, output: bytes, error: CNIError | None = None, call: Call | None = None) -> None:
        self.output = output
        self.error = error
        self.call = call

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.error else 0

    @property
    def lingers(self) -> bool:
        """Whether closing may wait for the kernel."""
        return self.call is not None and self.call.site.node.used_nftables

    def close(self) -> None:
        """Close what the call has opened."""
        if self.call is not None:
            self.call.close()


def answer(
    plugin: Plugin,
    environ: "Mapping[str, str]",
    stdin: "bytes | Callable[[], bytes]",
    log: "Log",
    watch: "Observer | None" = None,
    part_of: Call | None = None,
) -> Answer:
    """Serve one call; the answer is to be closed. Never raises because of its input.

    ``stdin`` is the configuration, or a function that reads it (VERSION does not); ``log`` is standard error; ``watch``
    is called before and after each effect; ``part_of`` as for ``Call``.
    """
    if not environ.get("CNI_COMMAND"):
        log.write(f"CNI {plugin.type} plugin v{REFERENCE}+pycni.{VERSION}\n")
        log.write(f"CNI protocol versions supported: {', '.join(versions.KNOWN)}\n")
        return Answer(b"")
    debug = bool(environ.get("CNI_DEBUG"))
    version, served = "", None
    try:
        environment.check(environ)
        if environ["CNI_COMMAND"] == "VERSION":
            known = {"cniVersion": versions.CURRENT, "supportedVersions": list(versions.KNOWN)}
            return Answer(wire.encode(known).encode() + b"\n")
        served = Call(environ, stdin if isinstance(stdin, bytes) else stdin(), log, watch, part_of)
        version = served.version
        return Answer(_dispatch(plugin, served), None, served)
    except (Exception, KeyboardInterrupt) as error:
        explained = _explained(error, plugin, debug, log)
        document = {"cniVersion": version or versions.CURRENT, **explained.document()}
        return Answer(wire.encode(document, 4).encode(), explained, served)
    finally:
        if debug and served is not None:
            served.trace(plugin.type)


def _read_stdin() -> bytes:
    parts = []
    try:
        while part := os.read(0, 1 << 16):
            parts.append(part)
    except OSError as error:
        raise IOFailure(f"error reading from stdin: {error}") from None
    return b"".join(parts)


class _StandardError:
    def write(self, text: str, /) -> None:
        try:
            os.write(2, text.encode("utf-8", "replace"))
        except OSError:
            pass  # the result is on standard output


def _occupy_streams() -> None:
    """Keep the numbers of closed standard streams in use, so that no file or socket of ours gets one of them."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            # opens this number, the lowest free one; reading from 0 and writing to 1 and 2 fail as before
            os.open("/dev/null", os.O_RDONLY if fd else os.O_WRONLY)


def served(plugin: Plugin) -> Answer:
    """Serve the process's own call."""
    _occupy_streams()
    # inherited; the kernel would drop delegates' exit statuses
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    return answer(plugin, os.environ, _read_stdin, _StandardError())


def main(plugin: Plugin) -> int:
    """Serve the process's own call; returns the exit status."""
    answered = served(plugin)
    output = answered.output
    try:
        while output:
            output = output[os.write(1, output) :]
    except OSError as error:
        _StandardError().write(f"{plugin.type}: cannot write the result: {error}\n")
        return 1
    return answered.status
