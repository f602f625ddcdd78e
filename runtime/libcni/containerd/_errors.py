"""Errors of containerd's interface; each text ends in the Go library's word for its kind, by which callers match."""

from libcni._errors import LibcniError


class ContainerdError(LibcniError):
    """An error of this interface; ``kind`` is the Go library's text of it."""

    kind = ""

    def __init__(self, msg: str = "") -> None:
        super().__init__(f"{msg}: {self.kind}" if msg else self.kind)


class NotInitialized(ContainerdError):
    """Too few networks are loaded (``ErrCNINotInitialized``)."""

    kind = "cni plugin not initialized"


class InvalidConfig(ContainerdError):
    """A configuration cannot be used (``ErrInvalidConfig``)."""

    kind = "invalid cni config"


class ReadFailed(ContainerdError):
    """The configuration folder cannot be read (``ErrRead``)."""

    kind = "failed to read config file"


class InvalidResult(ContainerdError):
    """A result's addresses name interfaces that it does not have (``ErrInvalidResult``)."""

    kind = "invalid result"


class LoadFailed(ContainerdError):
    """Loading failed (``ErrLoad``); why is ``__cause__``, and in the text."""

    kind = "failed to load cni config"
