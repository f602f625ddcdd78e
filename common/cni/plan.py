"""Effects, plans and the executor: the one place that makes, compares, removes and collects.

The laws. Tests cite them by their numbers.

 1. An effect is one thing that should be, for one attachment. Its identity follows from the attachment alone: it is
    found again without a result, a namespace or a configuration.
 2. A plan is a generator. It awaits effects (``pair = yield from PodLink(...)``), gets the value of each, and returns
    the result of the call. It may look at the node, but only effects change it.
 3. ADD makes the effects in order. If one fails, those that were made are removed in reverse order, and the first
    error is raised. What could not be removed is named in its details.
 4. An effect that raises ``Refused`` or ``Remains`` made nothing, so it is not removed.
 5. ``Remains`` means that an ADD of this attachment died before. Everything that DEL looks for is removed, and the
    plan runs once more.
 6. A shared effect stands for the node. Other attachments rely on it, so nothing removes it.
 7. CHECK compares the effects in order and writes nothing. It raises the first difference; ``differences`` returns
    all.
 8. ``ensure`` makes what CHECK misses, as far as the effects are ``repairable``: made again they complete what exists.
 9. DEL removes the kinds of effects that the plugin may have left, in reverse order, by identity. That nothing is
    there is success. It goes on after an error, and raises all errors together.
10. GC starts from what exists for the network, and removes what no valid attachment owns. It goes on after an error.
11. A marker is removed last, and only if everything else could be removed.
12. An effect that has something to remove is a ``Kind`` too, and each of a plan is among the kinds that DEL and GC
    look for. The others are shared, or they go with another one: an address goes with its link.
"""

from cni.errors import CNIError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Any, Generic, TypeVar

    from cni.attachment import Attachment
    from cni.site import Site

    T = TypeVar("T")
    R = TypeVar("R")
    # A call's plan: awaits effects, returns the result.
    Plan = Generator["Effect[Any]", Any, R]
    # Called before and after each step: the step ("make", "compare", "remove", "collect"), the effect, "before" or "after".
    Observer = Callable[[str, "Part", str], None]
    # Takes a difference that CHECK found; ``compare`` goes on if it returns.
    Differ = Callable[[CNIError], None]
else:
    T = None

    class Generic:
        """``typing.Generic`` without importing typing."""

        __slots__ = ()

        def __class_getitem__(cls, type: "Any") -> "Any":
            return cls


class Part:
    """Something of one attachment at a site: what an effect and a kind have in common."""

    __slots__ = ("site",)

    def __init__(self, site: "Site") -> None:
        self.site = site

    @property
    def attachment(self) -> "Attachment":
        """The attachment that it belongs to."""
        return self.site.attachment

    @property
    def identity(self) -> str:
        """The name by which it is found again."""
        return self.identify(self.attachment)

    def identify(self, attachment: "Attachment") -> str:
        """The identity that it has for another attachment."""
        return str(attachment)


class Effect(Part, Generic[T]):
    """One thing that should be. ``T`` is the type of its value, which a plan gets by ``yield from``."""

    __slots__ = ()
    # It stands for the node (law 6).
    shared = False
    # ``make`` completes what exists, so that ``ensure`` may call it (law 8).
    repairable = False

    def __iter__(self) -> "Generator[Effect[Any], T, T]":
        return (yield self)

    def make(self) -> "T":
        """Make it, whole or not at all, or so that ``remove`` clears what was made.

        Raises ``Refused`` when nothing was made because what exists belongs to somebody else, ``Remains`` for
        leftovers of an ADD of this attachment that died.
        """
        raise NotImplementedError

    def compare(self, differ: "Differ") -> "T":
        """Pass each difference between what should be and what is to ``differ``; writes nothing.

        Raises a difference itself if it leaves the effect without a value.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """What should be, in one or a few lines, as one would type it."""
        return f"{type(self).__name__} {self.identity}"


class Kind(Part):
    """A kind of thing that a plugin may have left for an attachment; most are effects too."""

    __slots__ = ()
    # What people call it, in lines and lists; GC reports what it removed unless it is a note of our own.
    noun = ""
    reported = True
    # It reads the list of valid attachments itself, so GC asks it even where there is none.
    reads_list = False
    # It shows that others of the attachment may exist (law 11).
    marker = False

    def remove(self) -> None:
        """Remove it; that nothing is there is success."""
        self.discard(self.identity)

    def discard(self, identity: str) -> None:
        """Remove what has this identity; that nothing has it is success."""

    def present(self, network: str) -> "Iterable[Found]":  # noqa: ARG002
        """What exists of this kind for a network, for every network if the name is empty."""
        return ()

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":
        """Remove what the network has and no valid attachment owns: what was removed. Errors are raised together."""
        kept = {self.identify(attachment) for attachment in valid}
        gone, errors = [], []
        for found in self.present(network):
            if found in kept:
                continue
            try:
                self.discard(found)
            except Exception as error:
                errors.append(error)
            else:
                gone.append(found)
        raise_together(errors)
        return gone


class Found(str):
    """The identity of something that exists on the node, with its owner and what else is known of it."""

    facts: "dict[str, str | list[str]]"
    owner: str

    def __new__(cls, identity: str, owner: str = "", **facts: "str | list[str]") -> "Found":
        """``owner`` is an attachment as text, possibly shortened; empty if it is not known."""
        found = super().__new__(cls, identity)
        found.owner = owner
        found.facts = facts
        return found


class Remains(CNIError):
    """An ADD of this attachment died before it ended: its leftovers are to be removed before a new one."""


def raise_together(errors: "Sequence[Exception]") -> None:
    """Nothing for no error, the error itself for one, one error with all the texts for several."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    code = next((error.code for error in errors if isinstance(error, CNIError)), None)
    raise CNIError("; ".join(str(error) for error in errors), code=code)


def all_of(steps: "Iterable[Callable[[], Any]]") -> "list[Any]":
    """The answers of all steps; a step that fails does not keep the others from running, errors are raised together."""
    answers, errors = [], []
    for step in steps:
        try:
            answers.append(step())
        except Exception as error:
            errors.append(error)
    raise_together(errors)
    return answers


def _unobserved(step: str, part: Part, moment: str) -> None:
    pass


def walk(plan: "Plan[R]", step: "Callable[[Effect[Any]], Any]") -> "R":
    """Run a plan with the values that ``step`` gives its effects: what it returns."""
    try:
        effect = next(plan)
        while True:
            effect = plan.send(step(effect))
    except StopIteration as end:
        result: R = end.value
        return result


# ADD


def make(plan: "Callable[[], Plan[R]]", left: "Callable[[], Sequence[Kind]]", observe: "Observer" = _unobserved) -> "R":
    """ADD: make every effect; ``left`` are the kinds that DEL looks for (laws 3 to 5)."""
    try:
        return _make(plan(), observe)
    except Remains:
        remove(left(), observe)
        return _make(plan(), observe)


def _make(plan: "Plan[R]", observe: "Observer") -> "R":
    made: list[Kind] = []

    def step(effect: "Effect[Any]") -> "Any":
        observe("make", effect, "before")
        try:
            value = effect.make()
        except (Refused, Remains):
            raise
        except BaseException:
            note(effect)
            raise
        note(effect)
        observe("make", effect, "after")
        return value

    def note(effect: "Effect[Any]") -> None:
        if isinstance(effect, Kind) and not effect.shared:
            made.append(effect)

    try:
        return walk(plan, step)
    except BaseException as error:
        left = _remove(made, observe)
        if left:
            raise _with(error, left) from None
        raise


def _with(error: BaseException, left: "Sequence[Exception]") -> BaseException:
    """The error, with the reasons why something could not be removed again in its details, or in a note."""
    text = "and what was made could not be taken back: " + "; ".join(map(str, left))
    if not isinstance(error, CNIError):
        error.add_note(text)
        return error
    details = f"{error.details}; {text}" if error.details else text
    if isinstance(error, Refused):  # something of ours exists
        return CNIError(error.msg, details, error.code)
    error.details = details
    return error


# CHECK


def _raise(error: CNIError) -> None:
    raise error


def compare(plan: "Plan[R]", observe: "Observer" = _unobserved) -> "R":
    """CHECK: raise the first difference between what should be and what is (law 7)."""

    def step(effect: "Effect[Any]") -> "Any":
        observe("compare", effect, "before")
        value = effect.compare(_raise)
        observe("compare", effect, "after")
        return value

    return walk(plan, step)


class _Unknown(Exception):
    """The plan cannot go on: an effect has no value."""


def differences(plan: "Plan[Any]") -> list[CNIError]:
    """All differences. If one leaves an effect without a value, the effects that follow are not compared."""
    found: list[CNIError] = []

    def step(effect: "Effect[Any]") -> "Any":
        return _compared(effect, found)

    _walk_while_known(plan, step)
    return found


def ensure(plan: "Plan[Any]") -> "tuple[list[Effect[Any]], list[CNIError]]":
    """Make again what is missing: the effects that were repaired, and the differences that stay (law 8)."""
    repaired: list[Effect[Any]] = []
    stay: list[CNIError] = []

    def step(effect: "Effect[Any]") -> "Any":
        found: list[CNIError] = []
        try:
            value = _compared(effect, found)
        except _Unknown:
            if not effect.repairable:
                stay.extend(found)
                raise
        if found and effect.repairable:
            value = effect.make()
            repaired.append(effect)
        else:
            stay.extend(found)
        return value

    _walk_while_known(plan, step)
    return repaired, stay


def _compared(effect: "Effect[Any]", found: list[CNIError]) -> "Any":
    try:
        return effect.compare(found.append)
    except CNIError as error:
        found.append(error)
        raise _Unknown from None


def _walk_while_known(plan: "Plan[Any]", step: "Callable[[Effect[Any]], Any]") -> None:
    try:
        walk(plan, step)
    except _Unknown:
        plan.close()


# DEL


def remove(left: "Sequence[Kind]", observe: "Observer" = _unobserved) -> None:
    """DEL: remove everything that may be left of an attachment (laws 9 and 11)."""
    raise_together(_remove(left, observe))


def _remove(left: "Sequence[Kind]", observe: "Observer") -> list[Exception]:
    errors: list[Exception] = []
    for kind in reversed(left):
        if kind.marker and errors:
            continue
        observe("remove", kind, "before")
        try:
            kind.remove()
        except Exception as error:
            errors.append(error)
        observe("remove", kind, "after")
    return errors


# GC


def collect(
    left: "Sequence[Kind]", network: str, valid: "Sequence[Attachment]", observe: "Observer" = _unobserved
) -> "list[tuple[Kind, Found]]":
    """GC: remove what the network has and no valid attachment owns: what was removed (laws 10 and 11)."""
    gone: list[tuple[Kind, Found]] = []
    errors: list[Exception] = []
    for kind in reversed(left):
        if kind.marker and errors:
            continue
        observe("collect", kind, "before")
        try:
            gone += [(kind, found) for found in kind.collect(network, valid)]
        except Exception as error:
            errors.append(error)
        observe("collect", kind, "after")
    raise_together(errors)
    return gone


# tests and people


def describe(plan: "Plan[Any]", values: "Callable[[Effect[Any]], Any]" = lambda effect: None) -> str:
    """What should be, one effect a paragraph; ``values`` stands in for what the kernel would have answered."""
    lines: list[str] = []

    def step(effect: "Effect[Any]") -> "Any":
        lines.append(effect.describe())
        return values(effect)

    walk(plan, step)
    return "\n".join(lines)
