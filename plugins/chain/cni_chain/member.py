"""A member of the chain as an effect. Its ADD, CHECK, DEL and GC are the calls of the plugin."""

from cni import delegate
from cni.errors import CNIError, InvalidConfig, Refused
from cni.plan import Differ, Effect, Found, Kind
from cni.result import Result, parse_delegated
from cni.versions import FAMILIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from cni.attachment import Attachment
    from cni.skel import Call
    from cni_chain.settings import Entry


class Latest:
    """The last result: the prevResult of the next member on ADD, and of all members on CHECK and DEL."""

    __slots__ = ("document", "result")

    def __init__(self, document: "dict[str, Any] | None" = None) -> None:
        self.document = document
        self.result = Result()  # CHECK prints none


# libcni's words for the verbs, in the error of a plugin of a conflist.
_WORDS = {"ADD": "add", "DEL": "delete", "CHECK": "check", "GC": "gc", "STATUS": "status"}


def find_all(call: "Call", entries: "Sequence[Entry]", kind: type[CNIError] = InvalidConfig) -> None:
    """Raise ``kind`` if a member's file is missing, before anything is changed."""
    for place, entry in enumerate(entries):
        try:
            delegate.find(entry.type, call.path)
        except CNIError as error:
            raise kind(error.msg, f"{error.details} (plugins[{place}])") from None


class Member(Effect[None], Kind):
    """A plugin of the chain has done its part for the attachment."""

    noun = "plugin"
    # only the plugin itself could repair
    repairable = False
    reads_list = True

    def __init__(self, call: "Call", entry: "Entry", latest: Latest) -> None:
        super().__init__(call.site)
        self.call = call
        self.entry = entry
        self.latest = latest

    def run(self, verb: str) -> "Any":
        """Run a verb and return the plugin's output. An error gets the plugin's name and the verb in front."""
        request = self.entry.request(self.call, self.latest.document)
        if verb == "STATUS":
            return self._named(verb, lambda: delegate.ready(self.call, self.entry.type, request))
        return self._named(verb, lambda: delegate.run(self.call, self.entry.type, verb, request))

    def _named(self, verb: str, work: "Callable[[], Any]") -> "Any":
        try:
            return work()
        except CNIError as error:
            text = f'plugin type="{self.entry.type}" failed ({_WORDS[verb]}): {error.msg}'
            raise (Refused if isinstance(error, Refused) else CNIError)(text, error.details, error.code) from None

    def make(self) -> None:
        """ADD. The result is the prevResult of the next member."""
        document = self.run("ADD")
        stated = document.get("cniVersion")
        version = stated if isinstance(stated, str) and stated else self.call.version
        result = self._named("ADD", lambda: parse_delegated(document, self.call.version))
        # as in libcni: the next member gets the result in the version of the plugin that printed it
        empty = version in FAMILIES[0] and not result.ips
        self.latest.document = {"cniVersion": version} if empty else result.document(version)
        self.latest.result = result

    def compare(self, differ: "Differ") -> None:
        """CHECK."""
        try:
            self.run("CHECK")
        except CNIError as error:
            differ(error)

    def remove(self) -> None:
        """DEL."""
        self.run("DEL")

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":  # noqa: ARG002
        """GC. The member gets the same list of valid attachments as the chain."""
        self.attempt("GC")
        return []

    def attempt(self, verb: str) -> None:
        """Run a verb of version 1.1.0. A member that does not know it is reported on standard error, without an error."""
        try:
            self.run(verb)
        except CNIError as error:
            if not delegate.lacks(error, verb):
                raise
            self.call.say(f"chain: plugin {self.entry.type} does not know {verb}")

    def describe(self) -> str:
        """The member's name."""
        return f"plugin {self.entry.type}"


class ExistingMember(Member):
    """A member of an attachment that existed before this ADD. Undo does not remove it; the error says so."""

    shared = True

    def __init__(self, call: "Call", entry: "Entry", latest: Latest) -> None:
        super().__init__(call, entry, latest)

    def make(self) -> None:
        """ADD. The member decides about a second ADD, as in a conflist."""
        try:
            super().make()
        except CNIError as error:
            kept = f"{self.attachment} was attached before, and is left as it was; DEL removes it"
            error.details = f"{error.details}; {kept}" if error.details else kept
            raise


class Unreadable(Kind):
    """A member whose configuration cannot be read. Nothing removes what it made; DEL and GC report that."""

    error: CNIError
    reads_list = True

    def remove(self) -> None:
        """Raise the error."""
        raise self.error

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":  # noqa: ARG002
        """Raise the error."""
        raise self.error
