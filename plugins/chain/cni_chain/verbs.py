"""The verbs of chain."""

from cni import delegate, plan
from cni.config import chosen, member
from cni.errors import CNIError, InvalidConfig, NotAvailable
from cni_chain import settings
from cni_chain.member import Latest, Member, Standing
from cni_chain.underway import UnderWay, Whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.result import Result
    from cni.skel import Call
    from cni_chain.settings import Entry


def _plan(first: "Sequence[plan.Effect]", members: "Sequence[Member]") -> "plan.Plan":
    """One stage a member: each is sent what the one before answered."""

    def stages() -> "plan.Stages":
        yield first
        for each in members:
            yield [each]

    return stages


def _marked(call: "Call", errors: "Sequence[Exception]") -> list[plan.Effect]:
    """What goes last; it stays when a member cannot be read, for nobody takes back what that one made."""
    return [] if errors else [UnderWay(call.attachment)]


def _members(call: "Call", entries: "Sequence[Entry]", latest: Latest) -> list[Member]:
    return [Member(call, entry, latest) for entry in entries]


def _previous(call: "Call") -> Latest:
    """What the runtime sent; the members judge it."""
    document = chosen(call.config, "prevResult")
    return Latest(None if document is None else member(document, "prevResult"))


def _checked(call: "Call") -> "list[Entry]":
    """The members, each of which is there to be run: nothing was touched when one is not."""
    entries = settings.read(call)
    for place, entry in enumerate(entries):
        try:
            delegate.find(entry.type, call.path)
        except CNIError as error:
            kind = NotAvailable if call.verb == "STATUS" else InvalidConfig
            raise kind(error.msg, f"{error.details} (plugins[{place}])") from None
    return entries


def add(call: "Call") -> "Result":
    """ADD of each member in order; if one fails, DEL of it and of those before, in reverse.

    Of an attachment that was there before nothing is taken back.
    """
    entries, latest, under_way = _checked(call), _previous(call), UnderWay(call.attachment)
    whole = Whole(call.attachment, call.netns)
    if whole.lives():
        return _again(call, entries, latest)
    whole.remove()
    members = _plan([under_way], _members(call, entries, latest))

    def stages() -> "plan.Stages":
        yield from members()
        _answer(latest).document(call.version)  # what cannot be told in the caller's version is taken back

    plan.make(stages, call.observe, members)
    whole.make()
    under_way.remove()
    return _answer(latest)


def _again(call: "Call", entries: "Sequence[Entry]", latest: Latest) -> "Result":
    """A second ADD without a DEL: the members judge it, as in a conflist."""
    try:
        plan.make(_plan([], [Standing(call, entry, latest) for entry in entries]), call.observe)
    except CNIError as error:
        kept = f"{call.attachment} was attached before, and is left as it was; DEL removes it"
        error.details = f"{error.details}; {kept}" if error.details else kept
        raise
    _answer(latest).document(call.version)
    return _answer(latest)


def _answer(latest: Latest) -> "Result":
    assert latest.result is not None  # noqa: S101
    return latest.result


def check(call: "Call") -> None:
    """CHECK of each member in order; all are sent the result of the whole."""
    plan.compare(_plan([], _members(call, _checked(call), _previous(call))), call.observe)


def delete(call: "Call") -> None:
    """DEL of each member in reverse; one that fails does not keep the others."""
    Whole(call.attachment).remove()  # first: a DEL that dies leaves no whole attachment
    entries, errors = settings.readable(call)
    faults: list[Exception] = list(errors)
    latest = Latest()
    try:
        latest = _previous(call)
    except CNIError as error:
        faults.append(error)
    try:
        plan.remove(_plan(_marked(call, errors), _members(call, entries, latest)), call.observe)
    except CNIError as error:
        faults.append(error)
    plan.raise_together(faults)


def gc(call: "Call") -> None:
    """GC of each member; one that fails does not keep the others."""
    from cni.valid import valid_attachments

    entries, errors = settings.readable(call)
    faults: list[Exception] = list(errors)
    valid = valid_attachments(call)
    first = [] if valid is None else [*_marked(call, errors), Whole(call.attachment)]
    try:
        plan.collect(_plan(first, _members(call, entries, Latest())), call.network, valid or [], call.observe)
    except CNIError as error:
        faults.append(error)
    plan.raise_together(faults)


def status(call: "Call") -> None:
    """STATUS of each member in order; the first that is not ready is told."""
    for each in _members(call, _checked(call), Latest()):
        each.attempt("STATUS")
