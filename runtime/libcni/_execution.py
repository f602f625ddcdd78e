"""Finding and running plugins (SPEC.md, "Execution Protocol"; Go: `pkg/invoke`).

``Exec`` and ``AsyncExec`` are what the library needs of an executor: a runtime may hand in its own. ``ProcessExec`` is
both, and runs real processes.
"""

import os
import sys
import time
from collections.abc import Sequence
from typing import Protocol

from libcni import _gojson, _process
from libcni._cancellation import Cancellation, Deadline
from libcni._errors import CallCancelled, PluginFailed, PluginNotFound, PluginTimeout, VersionInfoError
from libcni._inputs import Folders, StrPath, command_of, folders_of, path_of
from libcni._model import PluginInfo
from libcni._process import Cancelled, Child, OutOfTime, TooMuchOutput
from libcni._quoting import quote

# A file that is being written ("text file busy") is tried again this often, a second apart, as Go means to.
_BUSY_TRIES, _BUSY_PAUSE = 6, 1.0


class Finder(Protocol):
    """What does not wait: finding a plugin's file, reading its answer to VERSION."""

    def find_in_path(self, plugin: str, paths: Sequence[str]) -> str:
        """The plugin's file; raises ``PluginNotFound``."""
        ...

    def decode(self, data: bytes) -> PluginInfo:
        """The answer to VERSION; raises ``VersionInfoError``."""
        ...


class Exec(Finder, Protocol):
    """An executor of the synchronous form."""

    def exec_plugin(
        self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline, cancel: Cancellation | None
    ) -> bytes:
        """Run the file and return its standard output; raises ``PluginFailed`` and its kinds."""
        ...


class AsyncExec(Finder, Protocol):
    """An executor of the asyncio form; cancelling the task must end the plugin."""

    async def exec_plugin_async(self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline) -> bytes:
        """Run the file and return its standard output; raises ``PluginFailed`` and its kinds."""
        ...


class Writer(Protocol):
    """Where the standard error of plugins that succeeded goes."""

    def write(self, text: str, /) -> object:
        """Take a text."""
        ...


class PluginFinder:
    """Finding and decoding as the Go library does it."""

    def find_in_path(self, plugin: str, paths: Folders) -> str:
        """The first regular file of that name in ``paths``, links followed; the execute bit is not looked at.

        Empty elements of ``paths`` are skipped (Go finds a file there and then runs another). Raises
        ``PluginNotFound``, which names the folders searched.
        """
        paths = folders_of(paths)
        if not plugin:
            raise PluginNotFound("no plugin name provided")
        if "/" in plugin or "\0" in plugin:
            raise PluginNotFound(f"invalid plugin name: {plugin}")
        if not paths:
            raise PluginNotFound("no paths provided")
        for folder in paths:
            path = os.path.join(folder, plugin)
            if folder and os.path.isfile(path):
                return path
        raise PluginNotFound(f"failed to find plugin {quote(plugin)} in path [{' '.join(paths)}]")

    def decode(self, data: bytes) -> PluginInfo:
        """The answer to VERSION; without ``supportedVersions`` only a plugin of 0.2.0 is understood."""
        try:
            document = _gojson.decode(data)
        except _gojson.JSONError as error:
            raise VersionInfoError(f"decoding version info: {error}") from None
        found = {name.lower(): value for name, value in document.items()} if isinstance(document, dict) else {}
        version, supported = found.get("cniversion") or "", found.get("supportedversions") or []
        if not isinstance(version, str) or not isinstance(supported, list):
            raise VersionInfoError(
                "decoding version info: cniVersion must be a string, supportedVersions a list of them"
            )
        if not all(isinstance(one, str) for one in supported):
            raise VersionInfoError("decoding version info: supportedVersions must hold strings")
        if not version:
            raise VersionInfoError("decoding version info: missing field cniVersion")
        if not supported:
            if version != "0.2.0":
                raise VersionInfoError("decoding version info: missing field supportedVersions")
            supported = ["0.1.0", "0.2.0"]
        return PluginInfo(version, tuple(supported))


class ProcessExec(PluginFinder):
    """Runs plugins as processes, for both forms.

    ``stderr`` takes what a plugin that succeeded wrote there (by default the own standard error), ``own_group`` makes
    the plugin lead a process group that is killed whole, ``prefix`` is a command that the plugin is an argument of
    (``nsenter --net=…``), ``max_output`` bounds each output in bytes, ``wait_delay`` says how many seconds a daemon
    that a plugin left may hold its pipes open.
    """

    def __init__(
        self,
        stderr: Writer | None = None,
        *,
        own_group: bool = False,
        prefix: Sequence[StrPath] = (),
        max_output: int = 64 << 20,
        wait_delay: float = 5.0,
    ) -> None:
        self._stderr = stderr
        self._own_group = own_group
        self._prefix = command_of(prefix, "prefix")
        self._max_output = max_output
        self._wait_delay = wait_delay

    def exec_plugin(
        self,
        path: StrPath,
        stdin: bytes,
        environ: dict[str, str],
        deadline: Deadline = Deadline(),  # noqa: B008
        cancel: Cancellation | None = None,
    ) -> bytes:
        """Run the file with ``stdin``; the answer is its standard output.

        Raises ``PluginFailed`` (its error object, or what is known), ``PluginTimeout``, ``CallCancelled``.
        """
        path = path_of(path)
        refuse_to_start(path, deadline, cancel)
        tries = 1
        while (child := self._start(path, stdin, environ, deadline, tries)) is None:
            if cancel is None:
                time.sleep(_pause(deadline))
            elif cancel.wait(_pause(deadline)):
                refuse_to_start(path, deadline, cancel)
            tries += 1
        return self._attended(child, path, deadline, cancel)

    def _attended(self, child: Child, path: str, deadline: Deadline, cancel: Cancellation | None) -> bytes:
        try:
            _process.attend(child, deadline, cancel, self._own_group)
        except (OutOfTime, Cancelled, TooMuchOutput) as error:
            raise self._ended_early(error, path, deadline) from None
        return self._answer(child, path)

    async def exec_plugin_async(
        self,
        path: StrPath,
        stdin: bytes,
        environ: dict[str, str],
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> bytes:
        """The same under asyncio; cancelling the task kills the plugin."""
        import asyncio

        from libcni import _aioprocess

        path = path_of(path)
        refuse_to_start(path, deadline, None)
        tries = 1
        while (child := self._start(path, stdin, environ, deadline, tries)) is None:
            await asyncio.sleep(_pause(deadline))
            tries += 1
        try:
            await _aioprocess.attend(child, deadline, self._own_group)
        except (OutOfTime, TooMuchOutput) as error:
            raise self._ended_early(error, path, deadline) from None
        return self._answer(child, path)

    def _start(self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline, tries: int) -> Child | None:
        """The child; None when the file is busy and may be tried again; ``tries`` counts this one."""
        try:
            return Child.start(
                [*self._prefix, path],
                environ,
                stdin,
                own_group=self._own_group,
                limit=self._max_output,
                wait_delay=self._wait_delay,
            )
        except OSError as error:
            if _process.is_busy(error) and tries < _BUSY_TRIES and deadline.left != 0:
                return None
            reason = _process.start_failure(self._started(path), error)
        except ValueError as error:  # a zero byte in a path or a variable
            reason = f"fork/exec {self._started(path)}: {error}"
        details = f"{self._prefix[0]} is the prefix that {path} was to be run with" if self._prefix else ""
        raise PluginFailed(f"netplugin failed with no error message: {reason}", details, path=path, status=reason)

    def _started(self, path: str) -> str:
        """The program that the kernel starts: the prefix, if there is one."""
        return self._prefix[0] if self._prefix else path

    def _ended_early(self, error: Exception, path: str, deadline: Deadline) -> PluginFailed:
        killed = "netplugin failed with no error message: signal: killed"
        if isinstance(error, OutOfTime):
            return out_of_time(path, deadline, killed)
        if isinstance(error, Cancelled):
            return CallCancelled(
                killed, f"the call was cancelled, {path} was killed", path=path, status="signal: killed"
            )
        details = f"{path} printed more than {self._max_output} bytes and was killed"
        return PluginFailed(killed, details, path=path, status="signal: killed")

    def _answer(self, child: Child, path: str) -> bytes:
        status = _process.told(child.status)
        if status:
            failed = failure(path, status, child.stdout, child.stderr)
            if child.status is None and not failed.msg:  # a result, it seems, but who knows how it ended
                failed = failure(path, status, b"", b"")
            raise failed
        if child.stderr:
            self._pass_on(child.stderr.decode("utf-8", "replace"))
        return child.stdout

    def _pass_on(self, noise: str) -> None:
        """What a plugin that succeeded said; that nobody can take it is no failure of the plugin."""
        writer = sys.stderr if self._stderr is None else self._stderr  # the former is None where it was closed
        try:
            if writer is not None:
                writer.write(noise)
        except Exception:  # noqa: S110 -- a full disk, a reader that has gone, a writer with a fault of its own
            pass


def _pause(deadline: Deadline) -> float:
    """Seconds until a busy file is tried again."""
    return _BUSY_PAUSE if deadline.left is None else min(_BUSY_PAUSE, deadline.left)


def out_of_time(path: str, deadline: Deadline, msg: str) -> PluginTimeout:
    """The error of a call whose time is over."""
    details = f"{path} did not end within {deadline.of} {deadline.seconds:g} s and was killed"
    return PluginTimeout(msg, details, path=path, status="signal: killed")


def refuse_to_start(path: str, deadline: Deadline, cancel: Cancellation | None) -> None:
    """Raise ``PluginTimeout`` or ``CallCancelled`` when it makes no sense to start any more."""
    if cancel is not None and cancel.cancelled:
        raise CallCancelled("the call was cancelled", f"{path} was not started", path=path)
    if deadline.left == 0:
        details = f"{deadline.of} {deadline.seconds:g} s were over before {path} was started"
        raise PluginTimeout(f"{deadline.of} time is over", details, path=path)


def failure(path: str, status: str, stdout: bytes, stderr: bytes) -> PluginFailed:
    """The error of a plugin that ended with ``status``: its own error object, or code 0 and what it left."""
    noise = stderr.decode("utf-8", "replace")
    if not stdout:
        said = f"netplugin failed: {quote(stderr)}: {status}" if stderr else ""
        return PluginFailed(
            said or f"netplugin failed with no error message: {status}", path=path, status=status, stderr=noise
        )
    try:
        msg, details, code = _error_object(stdout)
    except ValueError as error:
        msg = f"netplugin failed but error parsing its diagnostic message {quote(stdout)}: {error}"
        return PluginFailed(msg, path=path, status=status, stderr=noise)
    return PluginFailed(msg, details, code, path=path, status=status, stderr=noise)


def _error_object(data: bytes) -> tuple[str, str, int]:
    document = _gojson.decode(data)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ValueError("an error must be an object")
    found = {name.lower(): value for name, value in document.items() if value is not None}
    msg, details, code = found.get("msg", ""), found.get("details", ""), found.get("code", 0)
    if not isinstance(msg, str) or not isinstance(details, str):
        raise ValueError("msg and details must be strings")
    if type(code) is not int or code < 0:
        raise ValueError("code must be an unsigned integer")
    return msg, details, code
