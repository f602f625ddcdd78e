"""The errors of the library. Their messages begin with the texts of the Go library; what we add follows.

A ``CNIError`` is an error object of the CNI protocol, with a code. ``PluginFailed`` is one. Every other ``LibcniError``
comes from this library. ``code_of`` finds the code in an error that wraps another one.

All errors can be pickled and copied. A process pool replaces ``__cause__``, so nothing here depends on it: an error that
wraps another one has it in ``error``.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from cni.errors import INVALID_CONFIG, INVALID_ENVIRONMENT, UNKNOWN_CONTAINER
from cni.errors import CNIError as CNIError
from libcni._position import Path, Position, spell
from libcni._quoting import quote


def _bare(kind: type[Any]) -> Any:
    """A new error of ``kind``, without a call of its constructor."""
    return (OSError if issubclass(kind, OSError) else Exception).__new__(kind)


def rebuild(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Rebuild a pickled error. Its constructor is not called, because it takes other parameters than ``args``."""
    error: BaseException = _bare(kind)
    error.args = args
    return error


class LibcniError(Exception):
    """Any error of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args), dict(self.__dict__)


class ConfigError(LibcniError):
    """A configuration cannot be used.

    ``msg`` is the Go library's text. ``file`` (empty if the configuration is not from a file), ``position`` and
    ``path`` (``plugins[0].type``) say where the error is, and are part of the message.
    """

    def __init__(self, msg: str, file: str = "", position: Position | None = None, path: Path = ()) -> None:
        super().__init__(msg)
        self.msg = msg
        self.file = file
        self.position = position
        self.path = path

    def with_hint(self, hint: str) -> "ConfigError":
        """A copy of the error whose text ends with a hint for the reader."""
        return ConfigError(f"{self.msg}: {hint}", self.file, self.position, self.path)

    def __str__(self) -> str:
        where = [part for part in (self.file, str(self.position or ""), f"key {quote(spell(self.path))}") if part]
        if not self.path:
            where.pop()
        return f"{self.msg} ({', '.join(where)})" if where else self.msg


class NotFound(ConfigError):
    """There is no configuration with that name (Go: ``NotFoundError``)."""

    def __init__(self, folder: str, name: str) -> None:
        super().__init__(f"no net configuration with name {quote(name)} in {folder}")
        self.folder = folder
        self.name = name


class NoConfigsFound(ConfigError):
    """There are no configuration files (Go: ``NoConfigsFoundError``)."""

    def __init__(self, folder: str) -> None:
        super().__init__(f"no net configurations found in {folder}")
        self.folder = folder


class CheckNotSupported(LibcniError):
    """CHECK was called for a version below 0.4.0 (Go: ``ErrorCheckNotSupp``)."""

    def __init__(self, version: str) -> None:
        super().__init__(f"configuration version {quote(version)} does not support the CHECK command")
        self.version = version


class InvalidVersion(LibcniError):
    """``cniVersion`` is not a version number."""


class InvalidName(CNIError, LibcniError):
    """A container id, network name or interface name that ADD refuses (Go: `pkg/utils/utils.go`)."""

    NO_CONTAINER, CONTAINER, NETWORK = UNKNOWN_CONTAINER, INVALID_ENVIRONMENT, INVALID_CONFIG


class InvalidArgs(CNIError, LibcniError):
    """``CNI_ARGS`` cannot contain a pair: plugins would read another argument, or an additional one."""

    code = INVALID_ENVIRONMENT


class PluginNotFound(LibcniError):
    """The plugin folders have no file with that name. The message names the folders."""


class PluginFailed(CNIError, LibcniError):
    """A plugin failed. ``code``, ``msg`` and ``details`` are those of its error object; without one, ``code`` is 0.

    ``path`` is the plugin's file, ``status`` is how it ended (``exit status 1``, ``signal: killed``), and ``stderr`` is
    what it wrote to standard error. (Go's library drops ``stderr`` if there is an error object.)
    """

    code = 0

    # Six parameters: three of the error object, three about the process.
    def __init__(
        self, msg: str, details: str = "", code: int = 0, *, path: str = "", status: str = "", stderr: str = ""
    ) -> None:
        super().__init__(msg, details, code)
        self.path = path
        self.status = status
        self.stderr = stderr


class PluginTimeout(PluginFailed, TimeoutError):
    """The call's time was over. The plugin was killed, or not started."""


class CallCancelled(PluginFailed):
    """The caller cancelled the call. The plugin was killed, or not started."""


def _msg(error: BaseException) -> str:
    return error.msg if isinstance(error, CNIError) else str(error)


def _details(error: BaseException) -> str:
    return error.details if isinstance(error, CNIError | StepFailed) else ""


class _Wrapper(LibcniError):
    """An error that wraps another one, in ``error``: ``__cause__`` may be lost."""

    def __init__(self, msg: str, error: BaseException) -> None:
        super().__init__(msg)
        self.args = (msg,)  # a TimeoutError's constructor does not set it
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return rebuild, (type(self), self.args), {**self.__dict__, "error": _portable(self.error)}


class StepFailed(_Wrapper):
    """A plugin of a list failed: ``plugin type="T" name="N" failed (add): …``.

    ``error`` (and ``__cause__``) is the plugin's error. ``code`` is its code, or 0 if it has none. ``details`` are the
    plugin's, and ``msg`` is the text without them. If the plugin ran out of time, the error is a ``StepTimeout``.
    """

    def __new__(cls, plugin: str, deed: str, error: BaseException) -> Self:  # noqa: ARG004 -- for the constructor
        """Make a ``StepTimeout`` if the plugin ran out of time."""
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
    """GC of several networks was called without the valid attachments of one of them. Nothing was removed."""


class CollectFailed(_Wrapper):
    """One removal, or the GC of one plugin, failed. ``error`` (and ``__cause__``) is its error."""

    def __new__(cls, what: str, error: BaseException) -> Self:  # noqa: ARG004 -- for the constructor
        """Make a ``CollectTimeout`` if the plugin ran out of time."""
        made: Self = _bare(_timed(cls, CollectFailed, CollectTimeout, error))
        return made

    def __init__(self, what: str, error: BaseException) -> None:
        super().__init__(f"{what}: {error}", error)


class CollectTimeout(CollectFailed, TimeoutError):
    """The ``CollectFailed`` of a plugin that ran out of time."""


class ResultError(LibcniError):
    """A plugin's output is not a result."""


class VersionInfoError(LibcniError):
    """A plugin's output for VERSION cannot be read."""


class UnsupportedByPlugin(LibcniError):
    """The plugin does not support the configuration's version."""


class CacheError(LibcniError):
    """The cache cannot be used for this attachment."""


class CacheDamaged(CacheError):
    """The attachment's cache file is damaged, or is not a cache file."""


class Locked(LibcniError, TimeoutError):
    """Another call has the lock of the attachment or of the network, and this call may wait no longer."""


class FunctionTimeout(LibcniError, TimeoutError):
    """The call's time was over while it awaited the caller's own function."""


class LockFailed(LibcniError):
    """The lock folder cannot be used. No plugin was run."""


class SeveralErrors(LibcniError):
    """Several errors of one call, in ``errors``. If a plugin ran out of time, it is a ``SeveralTimeout``.

    The message has a line for each error. With ``brackets`` it has them in brackets, as Go's ValidateNetworkList.
    """

    def __new__(cls, errors: Sequence[Exception], brackets: bool = False) -> Self:  # noqa: ARG004 -- for the constructor
        """Make a ``SeveralTimeout`` if a plugin ran out of time."""
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
    """``timed`` instead of ``plain``, if one of the errors says that the time was over."""
    return timed if cls is plain and any(map(is_timeout, errors)) else cls


def _portable(error: BaseException) -> BaseException:
    """The error if it can be pickled, else its text. The caller's own executor may raise errors that cannot."""
    if isinstance(error, CNIError | LibcniError):
        return error
    import pickle

    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 -- our own pickle
    except Exception:  # pickle raises whatever the error's own methods raise
        return LibcniError(f"{type(error).__name__}: {error}")
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, SeveralErrors):
            for part in error.errors:
                yield from _causes(part)
        error = error.error if isinstance(error, _Wrapper) else error.__cause__


def is_timeout(error: BaseException) -> bool:
    """Whether the error, or its cause, is that the call's time was over.

    Each error of the library for which this is true is also a ``TimeoutError``.
    """
    return any(isinstance(cause, PluginTimeout | Locked | FunctionTimeout) for cause in _causes(error))


def is_cancelled(error: BaseException) -> bool:
    """Whether the error, or its cause, is that the caller cancelled the call."""
    return any(isinstance(cause, CallCancelled) for cause in _causes(error))


def code_of(error: BaseException | None) -> int | None:
    """The protocol's code of an error, or of its first cause that has one. None if there is none.

    For several errors it is the code of the first one that has one, as with Go's ``errors.As``.
    """
    return next((cause.code for cause in _causes(error) if isinstance(cause, CNIError)), None)
