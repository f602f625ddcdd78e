"""The executor and its laws, by their numbers in ``cni/plan.py``."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import plan
from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError, Refused
from cni.plan import Effect, Found, Kind, Part, Remains
from cni.site import Node, Site

if TYPE_CHECKING:
    from cni.plan import Differ, Plan

WHO = Attachment("net1", "c1", "eth0")
OTHER = Attachment("net1", "c2", "eth0")


class World:
    """What there is: each thing by its kind and its attachment's text; and the deeds in their order."""

    def __init__(self) -> None:
        self.things: set[str] = set()
        self.deeds: list[str] = []
        self.faults: dict[str, Exception] = {}

    def deed(self, text: str) -> None:
        self.deeds.append(text)
        if text in self.faults:
            raise self.faults[text]


class Thing(Effect[str], Kind):
    """A thing of some kind; its value is its kind."""

    __slots__ = ("kind", "world")
    noun = "thing"

    def __init__(self, world: World, kind: str, attachment: Attachment = WHO) -> None:
        super().__init__(Site(attachment))
        self.world = world
        self.kind = kind

    def identify(self, attachment: Attachment) -> str:
        return f"{self.kind} of {attachment}"

    def make(self) -> str:
        self.world.deed(f"make {self.kind}")
        self.world.things.add(self.identity)
        self.world.deed(f"made {self.kind}")
        return self.kind

    def compare(self, differ: "Differ") -> str:
        self.world.deed(f"compare {self.kind}")
        if self.identity not in self.world.things:
            differ(CheckFailed(f"{self.kind} is missing"))
        return self.kind

    def present(self, network: str) -> list[Found]:
        self.world.deed(f"list {self.kind}")
        return [Found(thing) for thing in sorted(self.world.things) if thing.startswith(f"{self.kind} of {network}/")]

    def discard(self, identity: str) -> None:
        self.world.deed(f"discard {identity}")
        self.world.things.discard(identity)


class Shared(Thing):
    """A thing that stands for the node."""

    __slots__ = ()
    shared = True


@pytest.fixture
def world() -> World:
    return World()


class Staged:
    """A plan of these effects, and the kinds that DEL looks for; ``told`` collects the values that the plan got."""

    def __init__(self, *effects: Effect[Any], told: list[Any] | None = None) -> None:
        self.effects = effects
        self.told = [] if told is None else told

    def __call__(self) -> "Plan[list[Any]]":
        values = []
        for effect in self.effects:
            values.append((yield from effect))
            self.told.append(values[-1])
        return values

    def left(self) -> list[Kind]:
        return [effect for effect in self.effects if isinstance(effect, Kind) and not effect.shared]


def unobserved(step: str, part: Part, moment: str) -> None:
    pass


def make(stages: Staged, observe: Any = unobserved, removal: Staged | None = None) -> Any:
    return plan.make(stages, (removal or stages).left, observe)


def compare(stages: Staged, observe: Any = unobserved) -> Any:
    return plan.compare(stages(), observe)


def remove(stages: Staged, observe: Any = unobserved) -> None:
    plan.remove(stages.left(), observe)


def collect(stages: Staged, network: str, valid: Any, observe: Any = unobserved) -> Any:
    return plan.collect(stages.left(), network, valid, observe)


def three(world: World, told: list[Any] | None = None) -> Staged:
    """a, b and c, in this order."""
    return Staged(Thing(world, "a"), Thing(world, "b"), Thing(world, "c"), told=told)


def every(*kinds: str) -> set[str]:
    return {f"{kind} of {WHO}" for kind in kinds}


# ADD


def test_make_goes_through_the_stages_and_hands_each_its_values(world: World) -> None:
    told: list[Any] = []
    make(three(world, told))
    assert world.things == every("a", "b", "c")
    assert [deed for deed in world.deeds if deed.startswith("make")] == ["make a", "make b", "make c"]
    assert told == ["a", "b", "c"]


def test_a_later_stage_is_not_computed_before_the_earlier_one_is_made(world: World) -> None:
    seen: list[set[str]] = []

    def computed() -> Any:
        yield from Thing(world, "a")
        seen.append(set(world.things))
        yield from Thing(world, "b")

    plan.make(computed, list)
    assert seen == [every("a")]


@pytest.mark.parametrize("fault", ["make a", "made a", "make b", "made b", "make c", "made c"])
def test_a_failed_make_takes_back_in_reverse_what_was_made(world: World, fault: str) -> None:
    """The failed one too, for it may be half made; the error is the first one."""
    world.faults[fault] = CNIError("broken", code=77)
    with pytest.raises(CNIError, match="broken") as caught:
        make(three(world))
    assert caught.value.code == 77
    assert world.things == set()
    last = fault[-1]
    undone = [deed[8] for deed in world.deeds if deed.startswith("discard")]
    assert undone == [kind for kind in "cba" if kind <= last]


@pytest.mark.parametrize("details", ["", "the remedy"])
def test_an_error_while_undoing_does_not_hide_the_first_and_does_not_stop(world: World, details: str) -> None:
    """It is told among the first one's details."""
    world.faults["made c"] = CNIError("first", details, 77)
    world.faults[f"discard b of {WHO}"] = CNIError("second", "its remedy")
    world.faults[f"discard c of {WHO}"] = OSError("third")
    with pytest.raises(CNIError) as caught:
        make(three(world))
    told = "and what was made could not be taken back: third; second; its remedy"
    assert caught.value.document() == {
        "code": 77,
        "msg": "first",
        "details": f"{details}; {told}" if details else told,
    }
    assert world.things == every("b", "c")
    assert world.deeds[-1] == f"discard a of {WHO}"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError(), OSError(5, "x")])
def test_an_error_while_undoing_is_a_note_of_one_without_details(world: World, error: BaseException) -> None:
    world.faults["make b"] = error  # type: ignore[assignment]
    world.faults[f"discard a of {WHO}"] = CNIError("second")
    with pytest.raises(type(error)) as caught:
        make(three(world))
    assert caught.value is error
    assert error.__notes__ == ["and what was made could not be taken back: second"]


def test_what_is_refused_is_an_error_like_others_once_something_is_left(world: World) -> None:
    """``Refused`` would say that there is nothing to be undone."""
    world.faults["make b"] = Refused("taken", "by x", 11)
    with pytest.raises(Refused) as caught:
        make(three(world))
    assert caught.value.details == "by x"
    world.faults[f"discard a of {WHO}"] = CNIError("stuck")
    with pytest.raises(CNIError, match="^taken; by x; and what was made could not be taken back: stuck$") as left:
        make(three(world))
    assert not isinstance(left.value, Refused) and left.value.code == 11


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ZeroDivisionError(), StopIteration()])
def test_any_exception_is_undone(world: World, error: BaseException) -> None:
    """A StopIteration too: an effect that fails so does not end the plan, as if all were made."""
    world.faults["make b"] = error  # type: ignore[assignment]
    with pytest.raises(type(error)):
        make(three(world))
    assert world.things == set()


@pytest.mark.parametrize("verb", ["make", "compare"])
def test_a_plan_that_ends_early_gives_back_what_it_holds_before_anything_is_removed(world: World, verb: str) -> None:
    def holding() -> Any:
        try:
            yield from Thing(world, "a")
            yield from Thing(world, "b")
        finally:
            world.deed("given back")

    world.faults[f"{verb} b"] = CNIError("no")
    world.things.add(f"a of {WHO}")
    with pytest.raises(CNIError, match="^no$"):
        plan.make(holding, list) if verb == "make" else plan.compare(holding())
    after = [f"discard b of {WHO}", f"discard a of {WHO}"] if verb == "make" else []
    assert world.deeds[world.deeds.index(f"{verb} b") + 1 :] == ["given back", *after]


def test_a_fault_between_stages_is_undone(world: World) -> None:
    """The next stage's computation may fail as well as an effect."""

    def computed() -> Any:
        yield from Thing(world, "a")
        raise CNIError("cannot compute")

    with pytest.raises(CNIError, match="cannot compute"):
        plan.make(computed, list)
    assert world.things == set()


def test_what_was_refused_is_not_undone(world: World) -> None:
    """What is there belongs to another; what this call made before goes."""
    world.things |= every("b")
    world.faults["make b"] = Refused("taken")
    with pytest.raises(Refused, match="taken"):
        make(three(world))
    assert world.things == every("b")


def test_what_is_shared_is_neither_undone_nor_removed_nor_collected(world: World) -> None:
    stages = Staged(Shared(world, "bridge"), Thing(world, "a"), Thing(world, "b"))
    world.faults["make b"] = CNIError("broken")
    with pytest.raises(CNIError):
        make(stages)
    assert world.things == every("bridge")
    world.faults.clear()
    make(stages)
    compare(stages)
    remove(stages)
    assert world.things == every("bridge")
    assert collect(stages, "net1", []) == []
    assert world.things == every("bridge")


def test_remains_are_removed_once_and_made_anew(world: World) -> None:
    """By the plan that DEL has, if one is given: it may know of more."""
    world.things |= every("a", "x")
    tries: list[int] = []

    class Once(Thing):
        __slots__ = ()

        def make(self) -> str:
            tries.append(len(tries))
            if self.identity in world.things:
                raise Remains("left")
            return super().make()

    stages = Staged(Once(world, "a"), Thing(world, "b"))
    make(stages, removal=Staged(Thing(world, "a"), Thing(world, "x")))
    assert world.things == every("a", "b")
    assert tries == [0, 1]


def test_without_a_removal_the_same_plan_removes_the_remains(world: World) -> None:
    world.things |= every("a")

    class Once(Thing):
        __slots__ = ()

        def make(self) -> str:
            if self.identity in world.things:
                raise Remains("left")
            return super().make()

    make(Staged(Once(world, "a")))
    assert world.things == every("a")
    assert f"discard a of {WHO}" in world.deeds


def test_remains_that_stay_are_an_error_and_no_endless_loop(world: World) -> None:
    world.faults["make a"] = Remains("left")
    with pytest.raises(Remains):
        make(three(world))
    assert world.deeds.count("make a") == 2
    assert "discard a" not in " ".join(world.deeds[-1:]), "what was not made is not undone"


def test_remains_in_a_later_effect_undo_the_earlier_ones_first(world: World) -> None:
    world.faults["make c"] = Remains("left")
    with pytest.raises(Remains):
        make(three(world))
    assert world.things == set()


# a marker


class Marker(Thing):
    """A thing that tells that the others may be there."""

    __slots__ = ()
    marker = True


def marked(world: World) -> Staged:
    return Staged(Marker(world, "mark"), Thing(world, "a"), Thing(world, "b"))


@pytest.mark.parametrize("stuck", ["", "a", "b"])
@pytest.mark.parametrize("verb", ["make", "remove", "collect"])
def test_a_marker_stays_as_long_as_something_else_does(world: World, verb: str, stuck: str) -> None:
    """Whether an ADD is taken back, or DEL or GC fails: the next one that removes all the rest takes it away."""
    deeds = {
        "make": lambda: make(marked(world)),
        "remove": lambda: remove(marked(world)),
        "collect": lambda: collect(marked(world), "net1", []),
    }
    if verb == "make":
        world.faults["made b"] = CNIError("broken")
    else:
        make(marked(world))
    if stuck:
        world.faults[f"discard {stuck} of {WHO}"] = CNIError("stuck")
    if verb == "make" or stuck:
        with pytest.raises(CNIError):
            deeds[verb]()
    else:
        deeds[verb]()
    assert world.things == (every("mark", stuck) if stuck else set())
    world.faults.clear()
    remove(marked(world))
    assert world.things == set()


# CHECK


def test_compare_hands_on_values_and_writes_nothing(world: World) -> None:
    make(three(world))
    before, told = set(world.things), list[Any]()
    world.deeds.clear()
    compare(three(world, told))
    assert world.deeds == ["compare a", "compare b", "compare c"]
    assert world.things == before and told == ["a", "b", "c"]


def test_compare_raises_the_first_difference(world: World) -> None:
    world.things = every("a")
    with pytest.raises(CheckFailed, match="b is missing"):
        compare(three(world))
    assert world.deeds == ["compare a", "compare b"]


# DEL


def test_remove_goes_in_reverse(world: World) -> None:
    world.things = every("a", "b", "c")
    remove(three(world))
    assert world.things == set()
    assert world.deeds == [f"discard {kind} of {WHO}" for kind in "cba"]


def test_remove_of_nothing_is_success(world: World) -> None:
    remove(three(world))


@given(st.sets(st.sampled_from("abc")))
def test_remove_goes_on_after_errors_and_tells_them_together(broken: set[str]) -> None:
    world = World()
    world.things = every("a", "b", "c")
    for kind in broken:
        world.faults[f"discard {kind} of {WHO}"] = CNIError(f"{kind} is stuck", code=42)
    if broken:
        with pytest.raises(CNIError) as caught:
            remove(three(world))
        assert caught.value.msg == "; ".join(f"{kind} is stuck" for kind in "cba" if kind in broken)
        assert caught.value.code == 42
    else:
        remove(three(world))
    assert world.things == every(*broken)
    assert len(world.deeds) == 3


# GC


def test_collect_removes_what_no_valid_attachment_owns(world: World) -> None:
    """Of this network alone, in reverse; the answer names what went."""
    foreign = "a of net2/c9/eth0"
    world.things = every("a", "b", "c") | {f"{kind} of {OTHER}" for kind in "abc"} | {foreign}
    gone = collect(three(world), "net1", [OTHER])
    assert world.things == {f"{kind} of {OTHER}" for kind in "abc"} | {foreign}
    assert [identity for _, identity in gone] == [f"{kind} of {WHO}" for kind in "cba"]
    assert [effect.identity for effect, _ in gone] == [f"{kind} of {WHO}" for kind in "cba"]


def test_collect_with_nobody_valid_takes_all_of_the_network(world: World) -> None:
    world.things = every("a", "b", "c") | {f"a of {OTHER}", "a of net2/c1/eth0"}
    collect(three(world), "net1", [])
    assert world.things == {"a of net2/c1/eth0"}


def test_collect_goes_on_after_errors(world: World) -> None:
    """Within an effect and over effects; everything that can go goes."""
    world.things = every("a", "b", "c") | {f"a of {OTHER}"}
    world.faults = {f"discard a of {WHO}": CNIError("a is stuck"), "list c": CNIError("c is unreadable", code=5)}
    with pytest.raises(CNIError) as caught:
        collect(three(world), "net1", [])
    assert caught.value.msg == "c is unreadable; a is stuck"
    assert caught.value.code == 5
    assert world.things == every("a", "c")


def test_the_valid_attachments_may_be_any_iterable(world: World) -> None:
    world.things = every("a")
    effect = Thing(world, "a")

    def valid() -> Iterator[Attachment]:
        yield WHO

    assert effect.collect("net1", valid()) == []
    assert world.things == every("a")


# errors together


def test_no_error_is_none_and_one_is_itself() -> None:
    plan.raise_together([])
    error = ZeroDivisionError("x")
    with pytest.raises(ZeroDivisionError) as caught:
        plan.raise_together([error])
    assert caught.value is error


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([OSError("a"), ValueError("b")], 999),
        ([OSError("a"), CNIError("b", code=11)], 11),
        ([CNIError("a", code=7), CNIError("b", code=11)], 7),
    ],
)
def test_several_errors_are_one_with_all_the_texts(errors: list[Exception], code: int) -> None:
    """With the code of the first that has one."""
    with pytest.raises(CNIError) as caught:
        plan.raise_together(errors)
    assert (caught.value.msg, caught.value.code) == ("a; b", code)


def test_all_of_the_steps_have_their_turn_and_their_errors_are_raised_together() -> None:
    """Their answers are in order; one that fails keeps none from its turn."""
    turns: list[int] = []

    def step(number: int, fault: str = "") -> Callable[[], int]:
        def deed() -> int:
            turns.append(number)
            if fault:
                raise CNIError(fault)
            return number

        return deed

    assert plan.all_of([]) == []
    assert plan.all_of([step(1), step(2)]) == [1, 2]
    with pytest.raises(CNIError, match=r"^a; b$"):
        plan.all_of([step(3, "a"), step(4), step(5, "b"), step(6)])
    assert turns == [1, 2, 3, 4, 5, 6]


def test_details_are_among_the_texts() -> None:
    with pytest.raises(CNIError, match="^a; remedy; b$"):
        plan.raise_together([CNIError("a", "remedy"), CNIError("b")])


def test_a_node_closes_all_that_it_opened_even_if_one_fails() -> None:
    """And has nothing open afterwards."""
    closed: list[str] = []

    class Opened:
        def close(self) -> None:
            closed.append("it")
            if len(closed) == 1:
                raise OSError("not this one")

    node = Node()
    for name in ("_rtnl", "_nftables", "_later"):
        setattr(node, name, Opened())
    with pytest.raises(OSError, match="not this one"):
        node.close()
    assert len(closed) == 3 and not node.used_nftables
    node.close()
    assert len(closed) == 3


# observers, descriptions, an effect's own parts


@pytest.mark.parametrize(
    ("deed", "order", "verb"),
    [
        ("make", "abc", lambda stages, watch: make(stages, watch)),
        ("compare", "abc", lambda stages, watch: compare(stages, watch)),
        ("remove", "cba", lambda stages, watch: remove(stages, watch)),
        ("collect", "cba", lambda stages, watch: collect(stages, "net1", [], watch)),
    ],
    ids=["make", "compare", "remove", "collect"],
)
def test_the_observer_is_told_before_and_after_each_deed(
    world: World, deed: str, order: str, verb: Callable[..., Any]
) -> None:
    world.things = every("a", "b", "c")
    seen: list[str] = []

    verb(three(world), lambda deed, effect, moment: seen.append(f"{deed} {effect.identity[0]} {moment}"))
    assert seen == [f"{deed} {kind} {moment}" for kind in order for moment in ("before", "after")]


def test_the_observer_is_told_of_the_undoing_and_not_of_a_deed_that_failed(world: World) -> None:
    world.faults["make b"] = CNIError("broken")
    seen: list[str] = []
    with pytest.raises(CNIError):
        make(three(world), lambda deed, effect, moment: seen.append(f"{deed} {effect.identity[0]} {moment}"))
    assert seen == [
        "make a before", "make a after", "make b before",
        "remove b before", "remove b after", "remove a before", "remove a after",
    ]  # fmt: skip


def test_describe_walks_the_stages_with_the_values_that_it_is_given(world: World) -> None:
    told: list[Any] = []
    text = plan.describe(three(world, told)(), lambda effect: f"value of {effect.identity}")
    assert text.splitlines() == [f"Thing {kind} of {WHO}" for kind in "abc"]
    assert told[2] == f"value of c of {WHO}"
    assert world.deeds == [] and world.things == set()


def test_an_effect_has_to_say_how_it_is_made_and_compared() -> None:
    effect: Effect[None] = Effect(Site(WHO))
    assert (effect.identity, effect.describe()) == (str(WHO), f"Effect {WHO}")
    with pytest.raises(NotImplementedError):
        effect.make()
    with pytest.raises(NotImplementedError):
        effect.compare(lambda error: None)


def test_a_kind_that_overrides_nothing_finds_and_removes_nothing() -> None:
    kind = Kind(Site(WHO))
    assert (list(kind.present("net1")), kind.collect("net1", [])) == ([], [])
    kind.remove()


# laws 7 and 8: all differences, and repair


class Mended(Thing):
    """A thing that can be made again."""

    __slots__ = ()
    repairable = True


class Valued(Mended):
    """A thing without which nothing is known."""

    __slots__ = ()

    def compare(self, differ: "Differ") -> str:
        super().compare(_raise)
        return self.kind


def _raise(error: CNIError) -> None:
    raise error


def test_law_7_all_differences_are_returned_and_nothing_is_written(world: World) -> None:
    world.things = every("b")
    assert [str(error) for error in plan.differences(three(world)())] == ["a is missing", "c is missing"]
    assert world.deeds == ["compare a", "compare b", "compare c"] and world.things == every("b")


def test_law_7_what_depends_on_an_unknown_value_is_not_compared(world: World) -> None:
    found = plan.differences(Staged(Thing(world, "a"), Valued(world, "b"), Thing(world, "c"))())
    assert [str(error) for error in found] == ["a is missing", "b is missing"]


def test_law_8_what_is_missing_and_repairable_is_made(world: World) -> None:
    world.things = every("d")
    stages = Staged(Thing(world, "a"), Mended(world, "b"), Valued(world, "c"), Mended(world, "d"))
    repaired, stay = plan.ensure(stages())
    assert [effect.identity[0] for effect in repaired] == ["b", "c"]
    assert [str(error) for error in stay] == ["a is missing"]
    assert world.things == every("b", "c", "d") and "make d" not in world.deeds
    assert stages.told == ["a", "b", "c", "d"]
    again, still = plan.ensure(stages())
    assert (again, [str(error) for error in still]) == ([], ["a is missing"])


def test_law_8_repair_ends_where_a_value_is_unknown_and_cannot_be_made(world: World) -> None:
    class Lost(Valued):
        __slots__ = ()
        repairable = False

    repaired, stay = plan.ensure(Staged(Lost(world, "a"), Mended(world, "b"))())
    assert (repaired, [str(error) for error in stay], world.things) == ([], ["a is missing"], set())


@given(st.lists(st.sampled_from("mxrs"), min_size=1, max_size=6), st.integers(0, 6))
def test_whatever_fails_nothing_of_this_call_is_left(kinds: list[str], at: int) -> None:
    """Plans of ordinary, shared and refusing effects in any order, with a fault anywhere or nowhere."""
    world = World()
    stages = [(Shared if kind == "s" else Thing)(world, f"{kind}{place}") for place, kind in enumerate(kinds)]
    if at < len(kinds):
        world.faults[f"made {kinds[at]}{at}"] = CNIError("broken")
    try:
        make(Staged(*stages))
    except CNIError:
        assert at < len(kinds)
        assert all(thing.startswith("s") for thing in world.things)
    else:
        assert at >= len(kinds) and len(world.things) == len(kinds)
        remove(Staged(*stages))
        assert all(thing.startswith("s") for thing in world.things)


def test_remains_ask_for_a_new_walk_of_the_plan(world: World) -> None:
    """A generator is walked once, so a plan is given as a function."""
    walked: list[int] = []

    def computed() -> Any:
        walked.append(len(walked))
        if len(walked) == 1:
            raise Remains("left")
        return (yield from Thing(world, "a"))

    assert plan.make(computed, list) == "a"
    assert walked == [0, 1]
