"""Errors as the protocol knows them: a code, a message that names the thing, details that name the remedy.

The codes are those of the CNI specification, section "Error"; 0 to 99 are reserved by it, 100 and above are a plugin's own.
"""

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
UNKNOWN_CONTAINER = 3
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
INVALID_NETNS = 8
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50
LIMITED_CONNECTIVITY = 51
ADDRESSES_EXHAUSTED = 100
ADDRESS_TAKEN = 101
INTERNAL = 999


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
    """The configuration speaks a version that this plugin, or this verb, does not."""

    code = INCOMPATIBLE_VERSION


class InvalidEnvironment(CNIError):
    """A ``CNI_*`` variable is missing or malformed."""

    code = INVALID_ENVIRONMENT


class IOFailure(CNIError):
    """Standard input or output failed."""

    code = IO_FAILURE


class DecodingFailure(CNIError):
    """The configuration is not JSON, or a key has the wrong type."""

    code = DECODING_FAILURE


class InvalidConfig(CNIError):
    """The configuration is well formed, yet says something that cannot be."""

    code = INVALID_CONFIG


class InvalidNetns(CNIError):
    """``CNI_NETNS`` is no network namespace, or the plugin's own."""

    code = INVALID_NETNS


class NetnsGone(InvalidNetns):
    """The path in ``CNI_NETNS`` does not exist (any more): for DEL the work there is done."""


class NoNetns(InvalidNetns):
    """What is at the path in ``CNI_NETNS`` is certainly no network namespace: for DEL it is gone too."""


class TryAgainLater(CNIError):
    """Something is busy for longer than this call may wait."""

    code = TRY_AGAIN_LATER


class NotAvailable(CNIError):
    """STATUS: an ADD would fail now."""

    code = NOT_AVAILABLE


class LimitedConnectivity(CNIError):
    """STATUS: as ``NotAvailable``, and containers that are attached may be affected too."""

    code = LIMITED_CONNECTIVITY


class CheckFailed(CNIError):
    """CHECK found something missing or changed."""


class Refused(CNIError):
    """An effect was not made because what is there belongs to another: nothing of ours is there to be undone."""
