"""Effects, things that should be, and the one executor that makes, compares, removes or collects them.

A plugin says what should be as a generator of stages: each ``yield`` hands out a list of effects and gets back the
list of their values (a delegate's result, a link's MAC), so that the next stage can be computed from them, without the
kernel. ADD makes the stages in order and takes back in reverse what it made if one fails; CHECK compares them, it is
ADD that does not write; DEL and GC are given no values (``None``), for an identity follows from the attachment alone.
"""

from cni.errors import CNIError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Any

    from cni.names import Attachment

    Stages = Generator[Sequence["Effect"], list[Any] | None, None]
    Plan = Callable[[], Stages]
    # told before and after each deed: the deed ("make", "compare", "remove", "collect"), the effect, "before" or "after"
    Observer = Callable[[str, "Effect", str], None]


class Effect:
    """One thing that should be, for one attachment.

    A subclass overrides what it has. Its ``identity`` is derived from the attachment alone; what else is known (the
    wanted value) is given to its constructor, or is empty on DEL and GC.
    """

    __slots__ = ("attachment",)
    # Stands for the node, not for one attachment: others rely on it, so neither undo nor DEL takes it away.
    shared = False
    # Tells that others of its plan may be there: it stays as long as one of them could not be taken away.
    marker = False

    def __init__(self, attachment: "Attachment") -> None:
        self.attachment = attachment

    @property
    def identity(self) -> str:
        """The name under which the thing is found again."""
        return self.identify(self.attachment)

    def identify(self, attachment: "Attachment") -> str:
        """The identity that another attachment's effect of this kind has."""
        return str(attachment)

    def make(self) -> "Any":
        """Make it; the value is handed to the next stage. All or nothing, or what ``remove`` clears away.

        Raises ``Refused`` when nothing was made because what is there is another's, ``Remains`` when an ADD that died
        left something of this attachment.
        """

    def compare(self) -> "Any":
        """Raise ``CheckFailed`` unless it is as wanted; the value is handed to the next stage."""

    def remove(self) -> None:
        """Take it away; that nothing is there is success."""
        self.discard(self.identity)

    def present(self, network: str) -> "Iterable[str]":  # noqa: ARG002
        """The identities of this kind that exist for a network."""
        return ()

    def discard(self, identity: str) -> None:
        """Take away what has this identity; that nothing has it is success."""

    def collect(self, network: str, valid: "Iterable[Attachment]") -> list[str]:
        """Remove what the network has and no valid attachment owns; errors are gathered. The answer names what went."""
        kept = {self.identify(attachment) for attachment in valid}
        gone, errors = [], []
        for identity in self.present(network):
            if identity in kept:
                continue
            try:
                self.discard(identity)
            except Exception as error:
                errors.append(error)
            else:
                gone.append(identity)
        raise_together(errors)
        return gone

    def describe(self) -> str:
        """The wanted thing in one or a few lines, as one would type it."""
        return f"{type(self).__name__} {self.identity}"


class Remains(CNIError):
    """An ADD of this attachment died half-way: its remains are to be removed before a new one."""


def raise_together(errors: "Sequence[Exception]") -> None:
    """Nothing for no error, the error itself for one, one error with all the texts for several."""
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    code = next((error.code for error in errors if isinstance(error, CNIError)), None)
    raise CNIError("; ".join(str(error) for error in errors), code=code)


def all_of(steps: "Iterable[Callable[[], Any]]") -> "list[Any]":
    """What each step answers; one that fails keeps none from its turn, and the errors are raised together."""
    answers, errors = [], []
    for step in steps:
        try:
            answers.append(step())
        except Exception as error:
            errors.append(error)
    raise_together(errors)
    return answers


def _unobserved(deed: str, effect: Effect, moment: str) -> None:
    pass


def _walk(plan: "Plan", deed: "Callable[[Effect], Any]") -> None:
    stages = plan()
    try:
        stage = next(stages)
        while True:
            stage = stages.send([deed(effect) for effect in stage])
    except StopIteration:
        return


def effects(plan: "Plan") -> list[Effect]:
    """All effects of a plan, in order, as far as they are known without values."""
    found: list[Effect] = []
    stages = plan()
    try:
        stage = next(stages)
        while True:
            found += stage
            stage = stages.send(None)
    except StopIteration:
        return found


def make(plan: "Plan", observe: "Observer" = _unobserved, removal: "Plan | None" = None) -> None:
    """ADD: make every effect; if one fails, take back in reverse what was made and raise its error.

    What an ADD that died left of the same attachment is removed first, once, by ``removal``, the plan that DEL has
    (by default the same).
    """
    try:
        _make(plan, observe)
    except Remains:
        remove(removal or plan, observe)
        _make(plan, observe)


def _make(plan: "Plan", observe: "Observer") -> None:
    made: list[Effect] = []

    def deed(effect: Effect) -> "Any":
        observe("make", effect, "before")
        try:
            value = effect.make()
        except (Refused, Remains):
            raise
        except BaseException:
            made.append(effect)
            raise
        made.append(effect)
        observe("make", effect, "after")
        return value

    try:
        _walk(plan, deed)
    except BaseException as error:
        # the error that is told is the first one; what undoing could not remove DEL will meet again
        left = _remove([effect for effect in made if not effect.shared], observe)
        if left:
            raise _with(error, left) from None
        raise


def _with(error: BaseException, left: "Sequence[Exception]") -> BaseException:
    """An error that also tells why what was made is still there: in its details, or in a note of one that has none."""
    text = "and what was made could not be taken back: " + "; ".join(map(str, left))
    if not isinstance(error, CNIError):
        error.add_note(text)
        return error
    details = f"{error.details}; {text}" if error.details else text
    if isinstance(error, Refused):  # something of ours is there
        return CNIError(error.msg, details, error.code)
    error.details = details
    return error


def compare(plan: "Plan", observe: "Observer" = _unobserved) -> None:
    """CHECK: raise the first difference between what should be and what is."""

    def deed(effect: Effect) -> "Any":
        observe("compare", effect, "before")
        value = effect.compare()
        observe("compare", effect, "after")
        return value

    _walk(plan, deed)


def remove(plan: "Plan", observe: "Observer" = _unobserved) -> None:
    """DEL: remove every effect in reverse; go on after errors and raise them together."""
    raise_together(_remove([effect for effect in effects(plan) if not effect.shared], observe))


def _remove(made: "Sequence[Effect]", observe: "Observer") -> list[Exception]:
    errors: list[Exception] = []
    for effect in reversed(made):
        if effect.marker and errors:
            continue
        observe("remove", effect, "before")
        try:
            effect.remove()
        except Exception as error:
            errors.append(error)
        observe("remove", effect, "after")
    return errors


def collect(
    plan: "Plan", network: str, valid: "Sequence[Attachment]", observe: "Observer" = _unobserved
) -> list[tuple[Effect, str]]:
    """GC: remove what the network has and no valid attachment owns; go on after errors and raise them together."""
    gone: list[tuple[Effect, str]] = []
    errors: list[Exception] = []
    for effect in reversed(effects(plan)):
        if effect.shared or (effect.marker and errors):
            continue
        observe("collect", effect, "before")
        try:
            gone += [(effect, identity) for identity in effect.collect(network, valid)]
        except Exception as error:
            errors.append(error)
        observe("collect", effect, "after")
    raise_together(errors)
    return gone


def describe(plan: "Plan", values: "Callable[[Effect], Any]" = lambda effect: None) -> str:
    """What should be, one effect a paragraph; ``values`` stands in for what the kernel would have answered."""
    lines: list[str] = []

    def deed(effect: Effect) -> "Any":
        lines.append(effect.describe())
        return values(effect)

    _walk(plan, deed)
    return "\n".join(lines)
