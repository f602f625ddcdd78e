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
 6. A shared effect belongs to the node. Other attachments rely on it, so nothing removes it.
 7. CHECK compares the effects in order and writes nothing. It raises the first difference; ``differences`` returns
    all.
 8. ``ensure`` makes what CHECK misses, if the effect is ``repairable``: ``make`` then completes what exists.
 9. DEL removes the kinds of effects that the plugin may have left, in reverse order, by identity. A missing thing is
    success. DEL continues after an error, and raises all errors together.
10. GC starts from what exists for the network, and removes what no valid attachment owns. It continues after an error.
11. A marker is removed last, and only if everything else could be removed.
12. An effect that has something to remove is a ``Kind`` too, and DEL and GC look for every such kind of a plan. The
    other effects are shared, or disappear with another one, as an address with its link.
"""

from cni.errors import CNIError, Refused
from cni.settings import Declared

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
    # Gets a difference that CHECK found; ``compare`` continues if it returns.
    Differ = Callable[[CNIError], None]
else:
    T = Plan = Differ = None

    class Generic:
        """``typing.Generic`` without importing typing."""

        __slots__ = ()

        def __class_getitem__(cls, type: "Any") -> "Any":
            return cls


class Part(Declared):
    """The base of effects and kinds: it belongs to one attachment at a site."""

    site: "Site"

    @property
    def attachment(self) -> "Attachment":
        """Its attachment."""
        return self.site.attachment

    @property
    def identity(self) -> str:
        """The name by which DEL and GC find it again."""
        return self.identify(self.attachment)

    def identify(self, attachment: "Attachment") -> str:
        """Its identity for another attachment."""
        return str(attachment)


class Effect(Part, Generic[T]):
    """One thing that should be. ``T`` is the type of its value, which a plan gets by ``yield from``."""

    # It belongs to the node (law 6).
    shared = False
    # ``make`` completes what exists, so that ``ensure`` may call it (law 8).
    repairable = False

    def __iter__(self) -> "Generator[Effect[Any], T, T]":
        return (yield self)

    def make(self) -> "T":
        """Make all of it or nothing, or leave parts that ``remove`` finds.

        Raises ``Refused`` if it made nothing because something of another owner exists, and ``Remains`` for leftovers
        of an ADD of this attachment that died.
        """
        raise NotImplementedError

    def compare(self, differ: "Differ") -> "T":
        """Pass each difference between what should be and what exists to ``differ``. Changes nothing.

        Raises the difference itself if the effect has no value because of it.
        """
        raise NotImplementedError

    def describe(self) -> str:
        """What should be, in one or a few lines, such as commands."""
        return f"{type(self).__name__} {self.identity}"


class Kind(Part):
    """A kind of thing that a plugin may have left for an attachment; most are effects too."""

    # Its name in messages and lists. GC reports what it removed, except internal notes (``reported`` is False).
    noun = ""
    reported = True
    # It reads the list of valid attachments itself, so GC calls it even if the configuration has no list.
    reads_list = False
    # It shows that other things of the attachment may exist (law 11).
    marker = False

    def remove(self) -> None:
        """Remove it; success if nothing exists."""
        self.discard(self.identity)

    def discard(self, identity: str) -> None:
        """Remove the thing with this identity; success if it does not exist."""

    def present(self, network: str) -> "Iterable[Found]":  # noqa: ARG002
        """The things of this kind in a network, in all networks if the name is empty."""
        return ()

    def collect(self, network: str, valid: "Sequence[Attachment]") -> "list[Found]":
        """Remove the things in a network that no valid attachment owns; returns them. Errors are raised together."""
        kept = {self.identify(attachment) for attachment in valid}
        stale = [found for found in self.present(network) if found not in kept]

        def step(found: Found) -> "Callable[[], None]":
            return lambda: self.discard(found)

        all_of(map(step, stale))
        return stale


class Found(str):
    """The identity of a thing that exists on the node, with its owner and facts."""

    facts: "dict[str, str | list[str]]"
    owner: str

    def __new__(cls, identity: str, owner: str = "", **facts: "str | list[str]") -> "Found":
        """``owner`` is an attachment as text, perhaps shortened; empty if unknown."""
        found = super().__new__(cls, identity)
        found.owner = owner
        found.facts = facts
        return found


class Remains(CNIError):
    """An ADD of this attachment died; its leftovers must be removed before a new one."""


def raise_together(errors: "Sequence[Exception]") -> None:
    """Raise a single error itself, or several errors as one with all their texts."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    code = next((error.code for error in errors if isinstance(error, CNIError)), None)
    raise CNIError("; ".join(str(error) for error in errors), code=code)


def all_of(steps: "Iterable[Callable[[], Any]]") -> "list[Any]":
    """Run all steps, even after one fails, and return their values; errors are raised together."""
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
    """Run a plan; ``step`` gives the value of each effect. Returns the plan's result, and closes the plan in any case."""
    value: Any = None
    try:
        while True:
            try:
                effect = plan.send(value)
            except StopIteration as end:
                result: R = end.value
                return result
            value = step(effect)  # outside: a StopIteration of an effect is a fault, and not the plan's end
    finally:
        plan.close()


# ADD


def make(plan: "Callable[[], Plan[R]]", left: "Callable[[], Sequence[Kind]]", observe: "Observer" = _unobserved) -> "R":
    """ADD: make every effect; ``left`` gives the kinds that DEL looks for (laws 3 to 5)."""
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
    """The error; its details, or a note, say what could not be removed and why."""
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
    """CHECK: raise the first difference between what should be and what exists (law 7)."""

    def step(effect: "Effect[Any]") -> "Any":
        observe("compare", effect, "before")
        value = effect.compare(_raise)
        observe("compare", effect, "after")
        return value

    return walk(plan, step)


class _Unknown(Exception):
    """The plan cannot go on: an effect has no value."""


def differences(plan: "Plan[Any]") -> list[CNIError]:
    """All differences. If an effect has no value because of one, the effects that follow are not compared."""
    found: list[CNIError] = []
    try:
        walk(plan, lambda effect: _compared(effect, found))
    except _Unknown:
        pass
    return found


def ensure(plan: "Plan[Any]") -> "tuple[list[Effect[Any]], list[CNIError]]":
    """Make what is missing; returns the repaired effects and the differences that remain (law 8)."""
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

    try:
        walk(plan, step)
    except _Unknown:
        pass
    return repaired, stay


def _compared(effect: "Effect[Any]", found: list[CNIError]) -> "Any":
    try:
        return effect.compare(found.append)
    except CNIError as error:
        found.append(error)
        raise _Unknown from None


# DEL


def remove(left: "Sequence[Kind]", observe: "Observer" = _unobserved) -> None:
    """DEL: remove everything that an attachment may have left (laws 9 and 11)."""
    raise_together(_remove(left, observe))


def _remove(left: "Sequence[Kind]", observe: "Observer") -> list[Exception]:
    return _each(left, "remove", lambda kind: kind.remove(), observe)


def _each(left: "Sequence[Kind]", step: str, work: "Callable[[Kind], None]", observe: "Observer") -> list[Exception]:
    """A step of each kind in reverse order; returns the errors (law 11)."""
    errors: list[Exception] = []
    for kind in reversed(left):
        if kind.marker and errors:
            continue
        observe(step, kind, "before")
        try:
            work(kind)
        except Exception as error:
            errors.append(error)
        observe(step, kind, "after")
    return errors


# GC


def collect(
    left: "Sequence[Kind]", network: str, valid: "Sequence[Attachment]", observe: "Observer" = _unobserved
) -> "list[tuple[Kind, Found]]":
    """GC: remove what no valid attachment of the network owns; returns what it removed (laws 10 and 11)."""
    gone: list[tuple[Kind, Found]] = []

    def work(kind: Kind) -> None:
        gone.extend((kind, found) for found in kind.collect(network, valid))

    raise_together(_each(left, "collect", work, observe))
    return gone


# tests and people


def describe(plan: "Plan[Any]", values: "Callable[[Effect[Any]], Any]" = lambda effect: None) -> str:
    """What should be, one paragraph for each effect; ``values`` gives the effects' values in place of the kernel."""
    lines: list[str] = []

    def step(effect: "Effect[Any]") -> "Any":
        lines.append(effect.describe())
        return values(effect)

    walk(plan, step)
    return "\n".join(lines)
