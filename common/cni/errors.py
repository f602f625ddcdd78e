"""The errors of the protocol: a code, a message that names the thing, details that name the remedy.

The codes are those of the CNI specification, section "Error"; it reserves 0 to 99, and 100 and above are a plugin's own.
"""

import os

# Codes without a class of their own.
UNSUPPORTED_FIELD = 2
"""A field of the network configuration is not supported; no plugin of ours returns it."""
UNKNOWN_CONTAINER = 3
"""The container is unknown, and the runtime need not send a DEL; no plugin of ours returns it."""
ADDRESSES_EXHAUSTED = 100
"""No address is free in a range set."""
ADDRESS_TAKEN = 101
"""A requested address, or a host port, belongs to another container."""
INTERNAL = 999
"""Anything else: CHECK found a difference, the kernel refused, or a program failed."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class CNIError(Exception):
    """An error that reaches the caller as the specification's error object."""

    code = INTERNAL

    def __init__(self, msg: str, details: str = "", code: int | None = None) -> None:
        super().__init__(msg)
        self.msg = msg
        self.details = details
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """``msg`` or ``msg; details``, the text form that callers log."""
        return f"{self.msg}; {self.details}" if self.details else self.msg

    def document(self) -> dict[str, object]:
        """The error object of the specification, without ``cniVersion``."""
        document: dict[str, object] = {"code": self.code, "msg": self.msg}
        if self.details:
            document["details"] = self.details
        return document


class IncompatibleVersion(CNIError):
    """The plugin, or the verb, does not support the configuration's version."""

    code = 1


class InvalidEnvironment(CNIError):
    """A ``CNI_*`` variable is missing or malformed."""

    code = 4


class IOFailure(CNIError):
    """Standard input or output failed."""

    code = 5


class DecodingFailure(CNIError):
    """The configuration is not JSON, or a key has the wrong type."""

    code = 6


class InvalidConfig(CNIError):
    """A key of the configuration has an invalid value."""

    code = 7


class InvalidNetns(CNIError):
    """``CNI_NETNS`` is no network namespace, or is the plugin's own."""

    code = 8


class NetnsGone(InvalidNetns):
    """The path in ``CNI_NETNS`` does not exist; DEL has nothing to do in the container."""


class NoNetns(InvalidNetns):
    """The file at ``CNI_NETNS`` is certainly no network namespace; DEL treats the namespace as gone."""


class TryAgainLater(CNIError):
    """Something is busy for longer than a call may wait: the runtime should try again."""

    code = 11


class NotAvailable(CNIError):
    """STATUS: an ADD would fail now."""

    code = 50


class LimitedConnectivity(CNIError):
    """STATUS: an ADD would fail now, and attached containers may have lost connectivity."""

    code = 51


# libcni's names for two of the codes.
INVALID_ENVIRONMENT, INVALID_CONFIG = InvalidEnvironment.code, InvalidConfig.code


class CheckFailed(CNIError):
    """CHECK found something missing or changed."""


class Refused(CNIError):
    """An effect was not made because something of another owner exists. There is nothing to undo."""


class KernelError(Exception):
    """The kernel refused a request; the text is the kernel's, with its extended acknowledgement, if any."""

    def __init__(self, number: int, message: str = "") -> None:
        self.errno = number
        self.text = message
        super().__init__(f"{os.strerror(number).lower()}{f' ({message})' if message else ''}")


class Step:
    """``with Step('failed to set "eth0" UP'):`` makes an error of the kernel one of ours, which names the step."""

    __slots__ = ("error", "passed", "remedy", "text")

    def __init__(
        self, text: str, remedy: "str | Mapping[int, str]" = "", error: type[CNIError] = CNIError, passed: int = 0
    ) -> None:
        """``remedy`` becomes the details, or has them for some error numbers. The number ``passed`` is no error here."""
        self.text = text
        self.remedy = remedy
        self.error = error
        self.passed = passed

    def __enter__(self) -> "Step":
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> "bool | None":
        if not isinstance(error, KernelError | OSError):
            return None
        number = error.errno or 0
        if self.passed and number == self.passed:
            return True
        details = self.remedy if isinstance(self.remedy, str) else self.remedy.get(number, "")
        raise self.error(f"{self.text}: {error}", details) from None
