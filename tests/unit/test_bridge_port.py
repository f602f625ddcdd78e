"""When a bridge's port is ready, and when the neighbours are told: with a kernel whose answers are written down."""

from types import SimpleNamespace
from typing import Any

import pytest

from cni import patience
from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError
from cni.kernel import announce
from cni.kernel.rtnl import FORWARDING
from cni.result import IPConfig
from cni_bridge.port import PortForwards, announced
from node.effects import raising

WHO = Attachment("net1", "c1", "eth0")
DISABLED, LISTENING, LEARNING, BLOCKING = 0, 1, 2, 4


class Kernel:
    """A port that goes through states, one a look, and stays in the last; and a clock that sleeping moves."""

    def __init__(self, *states: Any) -> None:
        self.states = list(states)
        self.looks = 0
        self.now = 1000.0

    def link(self, index: int) -> Any:
        assert index == 7
        state = self.states[min(self.looks, len(self.states) - 1)]
        self.looks += 1
        if state is None:
            return None
        return SimpleNamespace(name="vethx", operstate=state[0], port_state=state[1])

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def told() -> list[tuple[int, list[str]]]:
    """What was announced: after how many looks at the port, and which addresses."""
    return []


def site(kernel: Kernel) -> Any:
    node = SimpleNamespace(later=None)
    return SimpleNamespace(attachment=WHO, rtnl=kernel, container=None, sysctls=None, node=node)


def make(kernel: Kernel, told: list[Any], monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(patience, "monotonic", lambda: kernel.now)
    monkeypatch.setattr(patience, "sleep", kernel.sleep)
    monkeypatch.setattr(
        announce,
        "announce",
        lambda namespace, link, found, sysctls, later: told.append((kernel.looks, [str(a) for a in found])),
    )
    pair: Any = SimpleNamespace(
        host=SimpleNamespace(index=7, name="vethx"),
        container=SimpleNamespace(name="eth0", mac="02:00:00:00:00:01", index=2),
    )
    ips = [IPConfig(Prefix.parse(text)) for text in addresses]
    forwards = PortForwards(site(kernel), pair.host).make()
    announced(site(kernel), pair, ips, forwards).make()


def test_the_neighbours_are_told_when_the_port_forwards_and_not_before(
    told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up is not enough: a frame that is sent before the port forwards reaches nobody."""
    kernel = Kernel(("down", DISABLED), ("up", DISABLED), ("up", BLOCKING), ("down", FORWARDING), ("up", FORWARDING))
    make(kernel, told, monkeypatch, "10.1.2.3/24", "fd00::3/64")
    assert told == [(5, ["10.1.2.3", "fd00::3"])]


def test_without_addresses_nobody_is_told(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(("down", DISABLED), ("up", FORWARDING))
    make(kernel, told, monkeypatch)
    assert told == [] and kernel.looks == 2


@pytest.mark.parametrize("state", [LISTENING, LEARNING])
def test_a_port_that_is_held_back_is_up_all_the_same(
    told: list[Any], monkeypatch: pytest.MonkeyPatch, state: int
) -> None:
    """By the spanning tree, say, for half a minute: Go's plugin does not wait for that either."""
    kernel = Kernel(("up", BLOCKING), ("up", state))
    make(kernel, told, monkeypatch, "10.1.2.3/24")
    assert told == [] and kernel.now - 1000 < 0.01, "one pause, after the first look"


def test_a_port_that_forwards_by_the_time_ipam_has_answered_is_announced_through(
    told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DHCP client may have taken longer than the spanning tree."""
    kernel = Kernel(("up", LEARNING), ("up", FORWARDING))
    make(kernel, told, monkeypatch, "10.1.2.3/24")
    assert told == [(2, ["10.1.2.3"])]


def test_a_port_that_stays_blocked_is_up_all_the_same(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge's port is for a moment before it forwards: so it is looked at for a while."""
    kernel = Kernel(("up", BLOCKING))
    make(kernel, told, monkeypatch, "10.1.2.3/24")
    assert told == [] and 2 <= kernel.now - 1000 <= 5


def test_a_port_that_does_not_come_up_is_an_error_with_its_state(
    told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(("lowerlayerdown", DISABLED))
    with pytest.raises(CNIError, match="^bridge port in error state: lowerlayerdown"):
        make(kernel, told, monkeypatch, "10.1.2.3/24")
    assert told == [] and 2 <= kernel.now - 1000 <= 5


def test_a_port_that_vanishes_is_an_error_that_says_so(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CNIError, match="^vethx vanished while it came up"):
        make(Kernel(("down", DISABLED), None), told, monkeypatch, "10.1.2.3/24")
    assert told == []


@pytest.mark.parametrize(("state", "passes"), [("up", True), ("down", False), ("lowerlayerdown", False)])
def test_check_wants_the_port_up(state: str, passes: bool) -> None:
    port: Any = SimpleNamespace(index=7, name="vethx", operstate=state)
    effect = PortForwards(site(Kernel()), port)
    if passes:
        effect.compare(raising)
    else:
        with pytest.raises(CheckFailed, match=state):
            effect.compare(raising)
