"""chain: the plugins of a conflist, one after another, as one plugin."""

from cni.errors import CNIError
from cni.settings import chosen, member
from cni_chain import settings
from cni_chain.member import ExistingMember, Latest, Member, Unreadable, find_all
from cni_chain.underway import Complete, UnderWay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.plan import Kind, Plan
    from cni.result import Result
    from cni.skel import Call
    from cni_chain.settings import Entry


def _previous(call: "Call") -> Latest:
    """The prevResult from the runtime, unchecked: the members check it."""
    document = chosen(call.config, "prevResult")
    return Latest(None if document is None else member(document, "prevResult"))


def wanted(call: "Call", entries: "Sequence[Entry]") -> "Plan[Result]":
    """The members in order. On ADD each gets the result of the one before, on CHECK all get the chain's prevResult.

    If the attachment existed before, nothing is undone when a member fails.
    """
    find_all(call, entries)
    latest = _previous(call)
    if call.verb == "CHECK":
        for entry in entries:
            yield from Member(call, entry, latest)
        return latest.result
    live = Complete(call.site).is_live()
    if not live:
        yield from UnderWay(call.site)
    for entry in entries:
        yield from ExistingMember(call, entry, latest) if live else Member(call, entry, latest)
    latest.result.document(call.version)  # raises, and so undoes, if the caller's version cannot hold the result
    if not live:
        yield from Complete(call.site)
    return latest.result


def left(call: "Call") -> "list[Kind]":
    """The members between the notes. DEL removes ``Complete`` first, so a DEL that dies leaves no live attachment."""
    entries, errors = settings.readable(call)
    latest = Latest()
    first: list[Kind] = []
    if call.verb != "GC":
        try:
            latest = _previous(call)
        except CNIError as error:
            first.append(Unreadable(call.site, error))
    unreadable = [Unreadable(call.site, error) for error in reversed(errors)]
    members = [Member(call, entry, latest) for entry in entries]
    return [*first, UnderWay(call.site), *members, *unreadable, Complete(call.site)]
