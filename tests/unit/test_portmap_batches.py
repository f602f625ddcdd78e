"""Host ports that no single datagram can hold: wherever the work is cut, DEL finds all that was made."""

import errno
from collections.abc import Callable
from typing import Any

import pytest

from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import Refused
from cni.kernel import transaction
from cni.kernel.nftables import Nftables, NftablesError
from cni.site import Site
from cni_portmap.hostports import HostPorts
from cni_portmap.published import Published
from cni_portmap.settings import Settings
from node.effects import raising
from node.namespace import Netns

pytestmark = pytest.mark.root


class Cut(Exception):
    """The process ended here."""


def _ports(container: str, first: int, count: int, address: str = "10.1.2.5", *, refuse: bool = False) -> HostPorts:
    ports = [{"hostPort": first + number, "containerPort": 80, "protocol": "tcp"} for number in range(count)]
    settings = Settings({"runtimeConfig": {"portMappings": ports}})
    prefixes = [Prefix.parse(text) for text in (f"{address}/24", f"fd00::{address[-1]}/64")]
    published = Published.wanted(settings, prefixes)
    published.link = "lo"
    return HostPorts(Site(Attachment("net1", container, "eth0")), published, refuse=refuse)


@pytest.fixture
def cut(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Exception | None], list[int]]:
    """A function: the socket takes little at once, and the batch with this number (from 1) fails so."""
    send = Nftables._send
    monkeypatch.setattr(Nftables, "make_room", lambda kernel, size: 4000)
    monkeypatch.setattr(transaction, "_A_MESSAGE", 20)

    def at(number: int, error: "Exception | None") -> list[int]:
        sent: list[int] = []

        def counted(kernel: Nftables, batch: Any, generation: "int | None") -> None:
            sent.append(1)
            if error is not None and len(sent) == number:
                raise error
            send(kernel, batch, generation)

        monkeypatch.setattr(Nftables, "_send", counted)
        return sent

    return at


def _cut_adds(empty: Netns, cut: Callable[[int, "Exception | None"], list[int]], adds: int, before: Any) -> None:
    """DEL after an ADD that was cut, at each of its batches, leaves what there was before."""
    for number in range(1, adds + 1):
        cut(number, Cut())
        with pytest.raises(Cut):
            _ports("ctr1", 1000, 60).make()
        cut(0, None)
        _ports("ctr1", 1, 1).remove()
        assert empty.nft() == before, f"cut at batch {number} of ADD"


def test_an_add_that_is_cut_anywhere_leaves_nothing_that_del_does_not_find(
    empty: Netns, cut: Callable[[int, "Exception | None"], list[int]]
) -> None:
    """The same of a DEL that is cut: the next one removes the rest. Another attachment's ports stay."""
    _ports("other", 100, 3).make()
    before = empty.nft()
    batches = cut(0, None)
    _ports("ctr1", 1000, 60).make()
    adds = len(batches)
    batches = cut(0, None)
    _ports("ctr1", 1000, 60).discard(_ports("ctr1", 1, 1).identity)
    removals = len(batches)
    assert adds > 4 and removals > 3
    assert empty.nft() == before
    _cut_adds(empty, cut, adds, before)
    for number in range(1, removals + 1):
        cut(0, None)
        _ports("ctr1", 1000, 60).make()
        cut(number, Cut())
        with pytest.raises(Cut):
            _ports("ctr1", 1, 1).remove()
        cut(0, None)
        _ports("ctr1", 1, 1).remove()
        assert empty.nft() == before, f"cut at batch {number} of DEL"


def test_an_add_that_is_disturbed_between_its_batches_begins_anew(
    empty: Netns, cut: Callable[[int, "Exception | None"], list[int]]
) -> None:
    """What the first attempt made is replaced."""
    ports = _ports("ctr1", 1000, 60)
    batches = cut(3, NftablesError("went by", errno.ERESTART))
    ports.make()
    assert len(batches) > 6
    ports.compare(raising)


def test_a_port_that_is_refused_after_a_first_batch_takes_that_back(
    empty: Netns, cut: Callable[[int, "Exception | None"], list[int]]
) -> None:
    """The last of the ports is a living container's, which shows when most are in force."""
    _ports("other", 1059, 1, "10.1.2.6").make()
    before = empty.nft()
    cut(0, None)
    with pytest.raises(Refused):
        _ports("ctr1", 1000, 60, refuse=True).make()
    assert empty.nft() == before


@pytest.mark.parametrize("first", [1000, 1030])
def test_ports_in_line_are_out_of_line_wherever_the_work_was_cut(
    empty: Netns, cut: Callable[[int, "Exception | None"], list[int]], first: int
) -> None:
    """Another container has some of the ports, and keeps them."""
    _ports("other", first, 30, "10.1.2.6").make()
    before = empty.nft()
    batches = cut(0, None)
    _ports("ctr1", 1000, 60).make()
    adds = len(batches)
    _ports("ctr1", 1000, 60).compare(raising)
    _ports("ctr1", 1, 1).remove()
    assert empty.nft() == before
    _cut_adds(empty, cut, adds, before)


def test_ports_are_handed_on_in_the_end_wherever_the_holders_end_was_cut(
    empty: Netns, cut: Callable[[int, "Exception | None"], list[int]]
) -> None:
    """DEL again gives whoever is in line what the first DEL did not come to."""
    _ports("ctr1", 1000, 60, "10.1.2.6").make()
    alone = empty.nft()
    _ports("ctr1", 1, 1).remove()
    _ports("other", 1000, 60).make()
    _ports("ctr1", 1000, 60, "10.1.2.6").make()
    batches = cut(0, None)
    _ports("other", 1, 1).remove()
    removals = len(batches)
    assert empty.nft() == alone
    for number in range(1, removals + 1):
        cut(0, None)
        _ports("ctr1", 1, 1).remove()
        _ports("other", 1000, 60).make()
        _ports("ctr1", 1000, 60, "10.1.2.6").make()
        cut(number, Cut())
        with pytest.raises(Cut):
            _ports("other", 1, 1).remove()
        cut(0, None)
        _ports("other", 1, 1).remove()
        _ports("ctr1", 1000, 60, "10.1.2.6").compare(raising)
        assert empty.nft() == alone, f"cut at batch {number} of DEL"
