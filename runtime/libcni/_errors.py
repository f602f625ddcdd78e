"""Errors of the runtime's side. Messages begin with the Go library's texts; what we add for people stands after them.

Two kinds answer whose fault it was: ``cni.errors.CNIError`` (and ``PluginFailed``, which is one) is an error object of
the protocol, with a code; every other ``LibcniError`` arose on this side. ``code_of`` finds the code through wrappings.

All of them survive pickle and copy. A process pool replaces ``__cause__``, so nothing here depends on it: an error of a
step holds the plugin's own in ``error``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from cni.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, UNKNOWN_CONTAINER
from cni.errors import CNIError as CNIError
from libcni._position import Path, Position, spell
from libcni._quoting import quote


def _bare(kind: type[Any]) -> Any:
    """An error of ``kind`` before its constructor."""
    return (OSError if issubclass(kind, OSError) else Exception).__new__(kind)


def rebuild(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An error of ``kind`` without a call of its constructor, whose parameters are not its ``args``."""
    error: BaseException = _bare(kind)
    error.args = args
    return error


class LibcniError(Exception):
    """Any error of this library that is not the plugin's own."""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args), dict(self.__dict__)


class ConfigError(LibcniError):
    """A configuration cannot be used.

    ``msg`` is the Go library's text; ``file`` (empty for bytes), ``position`` and ``path`` (``plugins[0].type``) tell
    where, and are part of the text.
    """

    def __init__(self, msg: str, file: str = "", position: Position | None = None, path: Path = ()) -> None:
        super().__init__(msg)
        self.msg = msg
        self.file = file
        self.position = position
        self.path = path

    def with_hint(self, hint: str) -> "ConfigError":
        """The same error, what the reader can do after its text."""
        return ConfigError(f"{self.msg}: {hint}", self.file, self.position, self.path)

    def __str__(self) -> str:
        where = [part for part in (self.file, str(self.position or ""), f"key {quote(spell(self.path))}") if part]
        if not self.path:
            where.pop()
        return f"{self.msg} ({', '.join(where)})" if where else self.msg


class NotFound(ConfigError):
    """No configuration of that name: ``NotFoundError`` of the Go library."""

    def __init__(self, folder: str, name: str) -> None:
        super().__init__(f"no net configuration with name {quote(name)} in {folder}")
        self.folder = folder
        self.name = name


class NoConfigsFound(ConfigError):
    """No configuration files at all: ``NoConfigsFoundError`` of the Go library."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"no net configurations found in {folder}")
        self.folder = folder


class CheckNotSupported(LibcniError):
    """CHECK for a configuration older than 0.4.0: ``ErrorCheckNotSupp`` of the Go library."""

    def __init__(self, version: str) -> None:
        super().__init__(f"configuration version {quote(version)} does not support the CHECK command")
        self.version = version


class InvalidVersion(LibcniError):
    """``cniVersion`` is not a version where versions are compared."""


class InvalidName(CNIError, LibcniError):
    """A container id, network name or interface name that ADD refuses (Go: `pkg/utils/utils.go`)."""

    NO_CONTAINER, CONTAINER, NETWORK = UNKNOWN_CONTAINER, INVALID_ENVIRONMENT, INVALID_CONFIG


class InvalidArgs(CNIError, LibcniError):
    """A pair that ``CNI_ARGS`` cannot hold: plugins would read another one, or a further one."""

    code = INVALID_ENVIRONMENT


class PluginNotFound(LibcniError):
    """No file of that name in the plugin folders; the text names the folders searched."""


class PluginFailed(CNIError, LibcniError):
    """A plugin ended with an error: its own error object, or code 0 and what is known where it gave none.

    ``path`` is the file that ran, ``status`` how it ended (``exit status 1``, ``signal: killed``), ``stderr`` what it
    wrote there (Go's library loses it beside an error object).
    """

    code = 0

    def __init__(
        self, msg: str, details: str = "", code: int = 0, *, path: str = "", status: str = "", stderr: str = ""
    ) -> None:
        super().__init__(msg, details, code)
        self.path = path
        self.status = status
        self.stderr = stderr


class PluginTimeout(PluginFailed, TimeoutError):
    """The time of the call was over; the plugin was killed (or not started any more)."""


class CallCancelled(PluginFailed):
    """The caller cancelled the call; the plugin was killed (or not started any more)."""


def _msg(error: BaseException) -> str:
    return error.msg if isinstance(error, CNIError) else str(error)


def _details(error: BaseException) -> str:
    return error.details if isinstance(error, CNIError | StepFailed) else ""


class _Holder(LibcniError):
    """An error that holds the one that caused it, also where ``__cause__`` is lost."""

    def __init__(self, msg: str, error: BaseException) -> None:
        super().__init__(msg)
        self.args = (msg,)  # OSError's constructor leaves that to its __new__
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args), {**self.__dict__, "error": _portable(self.error)}


class StepFailed(_Holder):
    """A plugin of a list failed: ``plugin type="T" name="N" failed (add): …``.

    ``error`` (and ``__cause__``) is the plugin's error. ``code`` is its code, 0 if it has none; ``msg`` is this error's
    text without ``details``, which are the plugin's. If the plugin ran out of time, it is a ``StepTimeout``.
    """

    def __new__(cls, plugin: str, deed: str, error: BaseException) -> Self:  # noqa: ARG004 -- for the constructor
        """Make a ``StepTimeout`` of what ran out of time."""
        made: Self = _bare(_timed(cls, StepFailed, StepTimeout, error))
        return made

    def __init__(self, plugin: str, deed: str, error: BaseException) -> None:
        super().__init__(f"plugin {plugin} failed ({deed}): {error}", error)
        self.plugin = plugin
        self.deed = deed
        self.code = code_of(error) or 0
        self.msg = f"plugin {plugin} failed ({deed}): {_msg(error)}"
        self.details = _details(error)


class StepTimeout(StepFailed, TimeoutError):
    """The ``StepFailed`` of a plugin that ran out of time."""


class MissingArgs(LibcniError, ValueError):
    """GC of several networks was not told what is valid in one of them; nothing was removed."""


class CollectFailed(_Holder):
    """One removal or one plugin's GC failed; ``error`` (and ``__cause__``) is the error itself."""

    def __new__(cls, who: str, error: BaseException) -> Self:  # noqa: ARG004 -- for the constructor
        """Make a ``CollectTimeout`` of what ran out of time."""
        made: Self = _bare(_timed(cls, CollectFailed, CollectTimeout, error))
        return made

    def __init__(self, who: str, error: BaseException) -> None:
        super().__init__(f"{who}: {error}", error)


class CollectTimeout(CollectFailed, TimeoutError):
    """The ``CollectFailed`` of a plugin that ran out of time."""


class ResultError(LibcniError):
    """What a plugin printed is no result."""


class VersionInfoError(LibcniError):
    """What a plugin answered to VERSION cannot be read."""


class UnsupportedByPlugin(LibcniError):
    """The plugin does not speak the configuration's version."""


class CacheError(LibcniError):
    """The cache cannot be used for this attachment."""


class CacheDamaged(CacheError):
    """The attachment's cache file is no cache file (any more)."""


class Locked(LibcniError, TimeoutError):
    """Another invocation works on the same attachment (or GC on the network) for longer than this call may wait."""


class FunctionTimeout(LibcniError, TimeoutError):
    """The call's time was over while it awaited a function of the caller's own."""


class LockFailed(LibcniError):
    """The lock folder cannot be used; nothing was begun."""


class SeveralErrors(LibcniError):
    """Several errors of one call, in ``errors``; joined by newlines, or in brackets as ValidateNetworkList has it.

    If a plugin ran out of time, it is a ``SeveralTimeout``.
    """

    def __new__(cls, errors: Sequence[Exception], brackets: bool = False) -> Self:  # noqa: ARG004 -- for the constructor
        """Make a ``SeveralTimeout`` if one of them is about time."""
        made: Self = _bare(_timed(cls, SeveralErrors, SeveralTimeout, *errors))
        return made

    def __init__(self, errors: Sequence[Exception], brackets: bool = False) -> None:
        texts = [str(error) for error in errors]
        super().__init__()
        self.args = (f"[{' '.join(texts)}]" if brackets else "\n".join(texts),)
        self.errors = tuple(errors)

    def __reduce__(self) -> tuple[Any, ...]:
        errors = tuple(map(_portable, self.errors))
        return rebuild, (type(self), self.args), {**self.__dict__, "errors": errors}


class SeveralTimeout(SeveralErrors, TimeoutError):
    """The ``SeveralErrors`` of a call in which a plugin ran out of time."""


def _timed(cls: type[Any], plain: type[Any], timed: type[Any], *errors: BaseException) -> type[Any]:
    """The class to make: the one that is a ``TimeoutError`` where one of the errors says that the time was over."""
    return timed if cls is plain and any(map(is_timeout, errors)) else cls


def _portable(error: BaseException) -> BaseException:
    """The error, if pickle can carry it; an executor of somebody else may raise one that it cannot."""
    if isinstance(error, CNIError | LibcniError):
        return error
    import pickle

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- what was written here, a moment ago
    except Exception:  # pickle raises whatever the error's own methods raise
        return LibcniError(f"{type(error).__name__}: {error}")
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, SeveralErrors):
            for one in error.errors:
                yield from _causes(one)
        error = error.error if isinstance(error, _Holder) else error.__cause__


def is_timeout(error: BaseException) -> bool:
    """Whether the error, or what it was caused by, is that the call's time was over.

    Errors of the library for which this is true are ``TimeoutError``s.
    """
    return any(isinstance(cause, PluginTimeout | Locked | FunctionTimeout) for cause in _causes(error))


def is_cancelled(error: BaseException) -> bool:
    """Whether the error, or what it was caused by, is that the caller cancelled."""
    return any(isinstance(cause, CallCancelled) for cause in _causes(error))


def code_of(error: BaseException | None) -> int | None:
    """The protocol's code of an error or of the first cause that has one; None if there is none.

    Of several errors it is the first one's (as Go's ``errors.As`` has it).
    """
    return next((cause.code for cause in _causes(error) if isinstance(cause, CNIError)), None)
