"""Find and run plugins (SPEC.md, "Execution Protocol"; Go: `pkg/invoke`).

``Exec`` and ``AsyncExec`` are the protocols of an executor. ``ProcessExec`` implements both. A runtime may pass its own.
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
from libcni._process import Cancelled, Child, ChildOptions, OutOfTime, TooMuchOutput
from libcni._quoting import quote

# A file that is being written ("text file busy") is tried this often, a second apart, as Go intends.
_BUSY_TRIES, _BUSY_PAUSE = 6, 1.0


class Finder(Protocol):
    """The methods of an executor that do not run a plugin."""

    def find_in_path(self, plugin: str, paths: Sequence[str]) -> str:
        """Find the plugin's file. Raises ``PluginNotFound``."""
        ...

    def decode(self, data: bytes) -> PluginInfo:
        """Decode the output of VERSION. Raises ``VersionInfoError``."""
        ...


class Exec(Finder, Protocol):
    """An executor for ``CNIConfig``."""

    def exec_plugin(
        self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline, cancel: Cancellation | None
    ) -> bytes:
        """Run the plugin and return its standard output. Raises ``PluginFailed`` or a subclass."""
        ...


class AsyncExec(Finder, Protocol):
    """An executor for ``AsyncCNIConfig``. Cancelling the task must end the plugin."""

    async def exec_plugin_async(self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline) -> bytes:
        """Run the plugin and return its standard output. Raises ``PluginFailed`` or a subclass."""
        ...


class Writer(Protocol):
    """A writer for the standard error of plugins that succeed."""

    def write(self, text: str, /) -> object:
        """Write a text."""
        ...


class PluginFinder:
    """Finds plugins and decodes their version as the Go library does. A base class for executors."""

    def find_in_path(self, plugin: str, paths: Folders) -> str:
        """Find the first regular file with that name in ``paths``. It may be a link, and need not be executable.

        Empty elements of ``paths`` are skipped. (Go finds a file there, and then runs another one.) Raises
        ``PluginNotFound``, which names the folders.
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
        """Decode the output of VERSION. ``supportedVersions`` may be missing if the version is 0.2.0."""
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
        if not all(isinstance(item, str) for item in supported):
            raise VersionInfoError("decoding version info: supportedVersions must hold strings")
        if not version:
            raise VersionInfoError("decoding version info: missing field cniVersion")
        if not supported:
            if version != "0.2.0":
                raise VersionInfoError("decoding version info: missing field supportedVersions")
            supported = ["0.1.0", "0.2.0"]
        return PluginInfo(version, tuple(supported))


class ProcessExec(PluginFinder):
    """Runs plugins as processes, for ``CNIConfig`` and ``AsyncCNIConfig``.

    - ``stderr``: a writer for the standard error of plugins that succeed. The default is this process's standard error.
    - ``own_group``: each plugin leads a process group, which is killed as a whole.
    - ``prefix``: the words of a command that gets the plugin as an argument, such as ``nsenter --net=…``.
    - ``max_output``: the limit of each output, in bytes.
    - ``wait_delay``: for how many seconds after a plugin's end a daemon that it started may keep its pipes open.
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
        self._prefix = command_of(prefix, "prefix")
        self._options = ChildOptions(own_group, max_output, wait_delay)

    def exec_plugin(
        self,
        path: StrPath,
        stdin: bytes,
        environ: dict[str, str],
        deadline: Deadline = Deadline(),  # noqa: B008
        cancel: Cancellation | None = None,
    ) -> bytes:
        """Run the plugin with ``stdin``, and return its standard output.

        Raises ``PluginFailed``, ``PluginTimeout`` or ``CallCancelled``.
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
        return self._run_to_answer(child, path, deadline, cancel)

    def _run_to_answer(self, child: Child, path: str, deadline: Deadline, cancel: Cancellation | None) -> bytes:
        try:
            _process.attend(child, deadline, cancel)
        except (OutOfTime, Cancelled, TooMuchOutput) as error:
            raise self._killed(error, path, deadline) from None
        return self._answer(child, path)

    async def exec_plugin_async(
        self,
        path: StrPath,
        stdin: bytes,
        environ: dict[str, str],
        deadline: Deadline = Deadline(),  # noqa: B008
    ) -> bytes:
        """As ``exec_plugin``, under asyncio. Cancelling the task kills the plugin."""
        import asyncio

        from libcni import _aioprocess

        path = path_of(path)
        refuse_to_start(path, deadline, None)
        tries = 1
        while (child := self._start(path, stdin, environ, deadline, tries)) is None:
            await asyncio.sleep(_pause(deadline))
            tries += 1
        try:
            await _aioprocess.attend(child, deadline)
        except (OutOfTime, TooMuchOutput) as error:
            raise self._killed(error, path, deadline) from None
        return self._answer(child, path)

    def _start(self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline, tries: int) -> Child | None:
        """Start the child. None if the file is busy and may be tried again. ``tries`` includes this one."""
        try:
            return Child.start([*self._prefix, path], environ, stdin, self._options)
        except OSError as error:
            if _process.is_busy(error) and tries < _BUSY_TRIES and deadline.left != 0:
                return None
            reason = _process.start_failure(self._program(path), error)
        except ValueError as error:  # a zero byte in a path or a variable
            reason = f"fork/exec {self._program(path)}: {error}"
        details = f"{self._prefix[0]} is the prefix that {path} was to be run with" if self._prefix else ""
        raise PluginFailed(f"netplugin failed with no error message: {reason}", details, path=path, status=reason)

    def _program(self, path: str) -> str:
        """The program that is started: the first word of the prefix, or the plugin."""
        return self._prefix[0] if self._prefix else path

    def _killed(self, error: Exception, path: str, deadline: Deadline) -> PluginFailed:
        killed = "netplugin failed with no error message: signal: killed"
        if isinstance(error, OutOfTime):
            return out_of_time(path, deadline, killed)
        if isinstance(error, Cancelled):
            return CallCancelled(
                killed, f"the call was cancelled, {path} was killed", path=path, status="signal: killed"
            )
        details = f"{path} printed more than {self._options.max_output} bytes and was killed"
        return PluginFailed(killed, details, path=path, status="signal: killed")

    def _answer(self, child: Child, path: str) -> bytes:
        return self.answer(path, child.status, child.stdout, child.stderr)

    def answer(self, path: StrPath, status: int | None, stdout: bytes, stderr: bytes) -> bytes:
        """The output of a plugin that has ended; ``status`` is that of ``waitpid``, or None if it is unknown.

        For subclasses that run a plugin in another way. Raises ``PluginFailed``.
        """
        path, how = path_of(path), _process.describe_status(status)
        if how:
            failed = failure(path, how, stdout, stderr)
            if status is None and not failed.msg:  # it printed a result, but its exit status is unknown
                failed = failure(path, how, b"", b"")
            raise failed
        if stderr:
            self._pass_on(stderr.decode("utf-8", "replace"))
        return stdout

    def _pass_on(self, text: str) -> None:
        """Write the standard error of a plugin that succeeded. An error of the writer is ignored."""
        writer = sys.stderr if self._stderr is None else self._stderr  # sys.stderr is None if it is closed
        try:
            if writer is not None:
                writer.write(text)
        except Exception:  # noqa: S110 -- a full disk, a closed pipe, a bug in the writer
            pass


def _pause(deadline: Deadline) -> float:
    """How many seconds to wait before a busy file is tried again."""
    return _BUSY_PAUSE if deadline.left is None else min(_BUSY_PAUSE, deadline.left)


def out_of_time(path: str, deadline: Deadline, msg: str) -> PluginTimeout:
    """The error for a plugin that was killed at the deadline."""
    details = f"{path} did not end within {deadline.of} {deadline.seconds:g} s and was killed"
    return PluginTimeout(msg, details, path=path, status="signal: killed")


def refuse_to_start(path: str, deadline: Deadline, cancel: Cancellation | None) -> None:
    """Raise ``PluginTimeout`` or ``CallCancelled`` if the call's time is over, or the call is cancelled."""
    if cancel is not None and cancel.cancelled:
        raise CallCancelled("the call was cancelled", f"{path} was not started", path=path)
    if deadline.left == 0:
        details = f"{deadline.of} {deadline.seconds:g} s were over before {path} was started"
        raise PluginTimeout(f"{deadline.of} time is over", details, path=path)


def failure(path: str, status: str, stdout: bytes, stderr: bytes) -> PluginFailed:
    """The error for a plugin that ended with ``status``: its error object, or code 0 and what it printed."""
    printed = stderr.decode("utf-8", "replace")
    if not stdout:
        msg = f"netplugin failed with no error message: {status}"
        if stderr:
            msg = f"netplugin failed: {quote(stderr)}: {status}"
        return PluginFailed(msg, path=path, status=status, stderr=printed)
    try:
        msg, details, code = _error_object(stdout)
    except ValueError as error:
        msg = f"netplugin failed but error parsing its diagnostic message {quote(stdout)}: {error}"
        return PluginFailed(msg, path=path, status=status, stderr=printed)
    return PluginFailed(msg, details, code, path=path, status=status, stderr=printed)


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
