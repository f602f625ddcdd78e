"""The errors of containerd's interface. Each message ends with the Go library's text for its kind."""

from libcni._errors import LibcniError


class ContainerdError(LibcniError):
    """An error of containerd's interface. ``kind`` is the Go library's text for it."""

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
    """An address of a result is on an interface that the result does not have (``ErrInvalidResult``)."""

    kind = "invalid result"


class LoadFailed(ContainerdError):
    """Loading failed (``ErrLoad``). The reason is ``__cause__``, and in the message."""

    kind = "failed to load cni config"
