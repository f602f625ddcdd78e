"""nftables over netlink: what is written is what nft reads, all of a batch or nothing, single objects by name."""

import errno
import itertools
import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import KernelError, TryAgainLater
from cni.go import chains
from cni.kernel import expressions as nft
from cni.kernel import nftables
from cni.kernel.netlink import Answer, Netlink, attribute
from cni.kernel.nftables import Nftables, NftablesError
from cni.kernel.transaction import (
    BRIDGE,
    ETHER_ADDR,
    IFNAME,
    INET,
    INET_PROTO,
    INET_SERVICE,
    IPV4,
    IPV4_ADDR,
    IPV6_ADDR,
    POSTROUTING,
    PREROUTING,
    SetType,
    Transaction,
    Type,
    pack,
    unpack,
)
from cni.ledger import Chain, Change, Ledger, Table, record_key, record_map
from cni.site import Node
from node.clock import Clock
from node.namespace import Netns

root = pytest.mark.root
TABLE = "wire"
_numbers = itertools.count()


@pytest.fixture
def kernel(empty: Netns) -> Iterator[Nftables]:
    """A socket to the namespace's nf_tables."""
    made = Nftables()
    yield made
    made.close()


def table(family: int = INET) -> Transaction:
    """A transaction that makes the table first."""
    transaction = Transaction(family, TABLE)
    transaction.add_table()
    return transaction


def beside(kernel: Nftables, name: str, keys: list[bytes]) -> bool:
    """Whether a set has an element with another key."""
    return kernel.holds(INET, TABLE, name, lambda found: found.key not in keys)


def listed(empty: Netns) -> str:
    """The ruleset as nft tells it, white space made one blank."""
    return re.sub(r"\s+", " ", empty.run("nft", "list", "ruleset")).strip()


# keys and data


TYPES: list[Type] = [IPV4_ADDR, IPV6_ADDR, ETHER_ADDR, INET_PROTO, INET_SERVICE, IFNAME]


@given(st.data())
def test_what_is_packed_is_unpacked(data: st.DataObject) -> None:
    """For every sequence of types; fields of a concatenation begin at multiples of four bytes."""
    types = data.draw(st.lists(st.sampled_from(TYPES), min_size=1, max_size=5))
    values = [data.draw(st.binary(min_size=each.length, max_size=each.length)) for each in types]
    packed = pack(types, values)
    assert unpack(types, packed) == values
    if len(types) > 1:
        assert len(packed) == sum(-(-each.length // 4) * 4 for each in types)
    else:
        assert packed == values[0]


def test_a_short_value_is_padded_to_its_field() -> None:
    """A link's name of four letters takes sixteen bytes."""
    assert pack([IFNAME], [b"eth0"]) == b"eth0" + bytes(12)
    assert pack([INET_PROTO, INET_SERVICE], [b"\x06", b"\x1f\x90"]) == b"\x06\0\0\0\x1f\x90\0\0"


# one road and the other

SET_TYPES = [
    SetType([IPV4_ADDR]),
    SetType([IPV6_ADDR]),
    SetType([ETHER_ADDR]),
    SetType([INET_SERVICE]),
    SetType([INET_PROTO, INET_SERVICE]),
    SetType([IPV4_ADDR, INET_PROTO, INET_SERVICE]),
    SetType([IFNAME, ETHER_ADDR]),
    SetType([IFNAME, INET_SERVICE], [IPV6_ADDR, INET_SERVICE]),
    SetType([INET_PROTO, INET_SERVICE], [IPV4_ADDR, INET_SERVICE]),
    SetType([INET_SERVICE], [IPV4_ADDR]),
]
SAMPLES = {
    IPV4_ADDR: (bytes([10, 1, 2, 3]), "10.1.2.3"),
    IPV6_ADDR: (bytes.fromhex("20010db8000000000000000000000002"), "2001:db8::2"),
    ETHER_ADDR: (bytes.fromhex("02000000000a"), "02:00:00:00:00:0a"),
    INET_PROTO: (b"\x06", "tcp"),
    INET_SERVICE: ((8080).to_bytes(2, "big"), "8080"),
    IFNAME: (b"veth0", '"veth0"'),
}


@root
@pytest.mark.parametrize("kind", SET_TYPES, ids=str)
def test_sets_and_maps_are_read_by_nft_and_by_us(empty: Netns, kernel: Nftables, kind: SetType) -> None:
    """nft shows the type's own text and the element in words; we get back the bytes and the comment."""
    key = pack(kind.key, [SAMPLES[each][0] for each in kind.key])
    data = pack(kind.data, [SAMPLES[each][0] for each in kind.data]) if kind.data else b""
    transaction = table()
    transaction.add_set("some", kind)
    transaction.add_element("some", key, data, "mynet/ctr1/eth0")
    kernel.commit(transaction)
    text = listed(empty)
    words = " . ".join(SAMPLES[each][1] for each in kind.key)
    value = f" : {' . '.join(SAMPLES[each][1] for each in kind.data)}" if kind.data else ""
    assert f"type {kind} " in text
    assert f'elements = {{ {words} comment "mynet/ctr1/eth0"{value} }}' in text
    found = kernel.element(INET, TABLE, "some", key)
    assert found is not None
    assert (found.key, found.data, found.comment) == (key, data, "mynet/ctr1/eth0")
    assert [each.key for each in kernel.elements(INET, TABLE, "some")] == [key]
    assert kernel.sets(INET, TABLE) == ["some"]


# Expressions and the text that nft has for them, in a table of the inet family.
EXPRESSIONS: list[tuple[str, list[nft.Expression]]] = [
    ("accept", [nft.ACCEPT]),
    ("drop", [nft.DROP]),
    ("return", [nft.RETURN]),
    ("jump other", [nft.jump("other")]),
    ("meta nfproto ipv4 accept", [nft.of_family(4), nft.ACCEPT]),
    ("meta nfproto ipv6 accept", [nft.of_family(6), nft.ACCEPT]),
    (
        "ip daddr 10.1.2.3 drop",
        [nft.of_family(4), nft.compare(nft.DESTINATION[4], bytes([10, 1, 2, 3]), "10.1.2.3"), nft.DROP],
    ),
    (
        "ip saddr != 10.1.2.3 drop",
        [nft.of_family(4), nft.compare(nft.SOURCE[4], bytes([10, 1, 2, 3]), "10.1.2.3", equal=False), nft.DROP],
    ),
    (
        "ip daddr 10.1.2.0/23 drop",
        [nft.of_family(4), nft.within(nft.DESTINATION[4], Prefix.parse("10.1.2.0/23")), nft.DROP],
    ),
    (
        "ip6 saddr 2001:db8::2 drop",
        [nft.of_family(6), nft.compare(nft.SOURCE[6], *SAMPLES[IPV6_ADDR]), nft.DROP],
    ),
    ("fib daddr type local accept", [nft.TO_THIS_NODE, nft.ACCEPT]),
    ("ct status dnat accept", [nft.REDIRECTED, nft.ACCEPT]),
    ("ip saddr @addresses accept", [nft.of_family(4), nft.is_in("addresses", nft.SOURCE[4]), nft.ACCEPT]),
    ("masquerade", [nft.MASQUERADE]),
]


@root
@pytest.mark.parametrize(("text", "expressions"), EXPRESSIONS, ids=[text for text, _ in EXPRESSIONS])
def test_nft_reads_a_rule_as_it_was_told(
    empty: Netns, kernel: Nftables, text: str, expressions: list[nft.Expression]
) -> None:
    """The kernel's rule in nft's words is the text that goes with the expressions, comment and all."""
    transaction = table()
    transaction.add_set("addresses", SetType([IPV4_ADDR]))
    transaction.add_chain("other")
    transaction.add_chain("base", "nat", POSTROUTING, 100)
    chain = "base" if text == "masquerade" else "other"
    if text.startswith("jump"):
        chain = "base"
    transaction.add_rule(chain, expressions, "a comment")
    assert transaction.describe().splitlines()[-1] == f'add rule inet {TABLE} {chain} {text} comment "a comment"'
    kernel.commit(transaction)
    assert f'{text} comment "a comment"' in listed(empty)
    (rule,) = kernel.rules(INET, TABLE, chain)
    assert rule.comment == "a comment"
    assert rule.jumps_to() == (["other"] if text.startswith("jump") else [])


@root
def test_the_script_of_a_transaction_makes_the_same(empty: Netns, kernel: Nftables) -> None:
    """What ``Transaction`` prints, given to nft, makes what it makes over netlink (but for elements, in hexadecimal)."""
    transaction = table()
    transaction.add_set("addresses", SetType([IPV4_ADDR]))
    transaction.add_set("ports", SetType([INET_PROTO, INET_SERVICE], [IPV4_ADDR, INET_SERVICE]))
    transaction.add_chain("other")
    transaction.add_chain("base", "nat", POSTROUTING, 100)
    transaction.add_chain("early", "filter", PREROUTING, -300)
    for text, expressions in EXPRESSIONS:
        chain = "base" if text in ("masquerade", "jump other") else "other"
        transaction.add_rule(chain, expressions, "why")
    kernel.commit(transaction)
    ours = empty.run("nft", "list", "ruleset")
    empty.run("nft", "flush", "ruleset")
    empty.run("nft", "-f", "-", stdin=transaction.describe())
    assert empty.run("nft", "list", "ruleset") == ours


@root
@pytest.mark.parametrize("family", [INET, IPV4, BRIDGE])
def test_a_table_with_a_comment_and_its_end(empty: Netns, kernel: Nftables, family: int) -> None:
    """Made twice it is there once; then it goes with all that is in it."""
    for _ in range(2):
        transaction = Transaction(family, TABLE)
        transaction.add_table("of ours")
        transaction.add_chain("some")
        kernel.commit(transaction)
    assert 'comment "of ours"' in listed(empty)
    assert kernel.has_table(family, TABLE)
    assert kernel.chain(family, TABLE, "some") is not None
    transaction = Transaction(family, TABLE)
    transaction.delete_table()
    kernel.commit(transaction)
    assert listed(empty) == ""
    assert not kernel.has_table(family, TABLE)


@root
def test_changes_of_what_is_there(empty: Netns, kernel: Nftables) -> None:
    """Rules by handle, chains flushed and removed, sets and elements removed; the rest stays."""
    transaction = table()
    transaction.add_set("kept", SetType([IPV4_ADDR]))
    transaction.add_set("goes", SetType([IPV4_ADDR]))
    for last in (1, 2):
        transaction.add_element("kept", bytes([10, 0, 0, last]))
    for chain in ("one", "two"):
        transaction.add_chain(chain)
        for comment in ("first", "second"):
            transaction.add_rule(chain, [nft.ACCEPT], comment)
    kernel.commit(transaction)
    first, second = kernel.rules(INET, TABLE, "one")
    assert (first.comment, second.comment) == ("first", "second")
    transaction = Transaction(INET, TABLE)
    transaction.delete_rule("one", first.handle)
    transaction.flush_chain("two")
    transaction.delete_chain("two")
    transaction.delete_set("goes")
    transaction.delete_element("kept", bytes([10, 0, 0, 1]))
    kernel.commit(transaction)
    assert [rule.comment for rule in kernel.rules(INET, TABLE, "one")] == ["second"]
    assert kernel.chain(INET, TABLE, "two") is None
    assert kernel.sets(INET, TABLE) == ["kept"]
    assert [element.key for element in kernel.elements(INET, TABLE, "kept")] == [bytes([10, 0, 0, 2])]


# all or nothing


@root
def test_a_batch_is_all_or_nothing_and_the_error_names_the_object(empty: Netns, kernel: Nftables) -> None:
    """The fourth of six steps and the last fail: nothing is there, and the message is about the first of them."""
    transaction = table()
    transaction.add_chain("one")
    transaction.add_set("some", SetType([IPV4_ADDR]))
    transaction.delete_element("some", bytes([10, 0, 0, 1]))
    transaction.add_chain("two")
    transaction.delete_set("nothing")
    with pytest.raises(NftablesError) as told:
        kernel.commit(transaction)
    assert told.value.errno == errno.ENOENT
    assert f"delete element inet {TABLE} some {{ 0a000001 }}" in told.value.msg
    assert listed(empty) == ""
    kernel.commit(table())
    assert kernel.has_table(INET, TABLE), "the socket is of use after a failure"


@root
def test_an_element_that_is_there_is_not_taken_silently(empty: Netns, kernel: Nftables) -> None:
    """The same key, with the same and with another comment, is an error: its first owner keeps it."""
    transaction = table()
    transaction.add_set("some", SetType([IPV4_ADDR]))
    transaction.add_element("some", bytes(4), comment="first")
    kernel.commit(transaction)
    for comment in ("first", "second"):
        transaction = Transaction(INET, TABLE)
        transaction.add_element("some", bytes(4), comment=comment)
        with pytest.raises(NftablesError) as told:
            kernel.commit(transaction)
        assert told.value.errno == errno.EEXIST
    found = kernel.element(INET, TABLE, "some", bytes(4))
    assert found is not None and found.comment == "first"


@root
def test_a_set_that_is_there_serves(empty: Netns, kernel: Nftables) -> None:
    """It is made once."""
    for _ in range(2):
        transaction = table()
        transaction.add_set("some", SetType([IPV4_ADDR]))
        kernel.commit(transaction)
    assert kernel.has_set(INET, TABLE, "some")
    assert not kernel.has_set(INET, TABLE, "other")


@root
def test_a_generation_that_went_by_refuses_the_batch(empty: Netns, kernel: Nftables) -> None:
    """Somebody changed something between look and change: nothing of the batch comes into force."""
    generation = kernel.generation()
    empty.run("nft", "add table inet somebody")
    assert kernel.generation() != generation
    with pytest.raises(NftablesError) as told:
        kernel.commit(table(), generation)
    assert told.value.errno == errno.ERESTART
    assert not kernel.has_table(INET, TABLE)
    kernel.commit(table(), kernel.generation())
    assert kernel.has_table(INET, TABLE)


@root
def test_an_empty_transaction_asks_the_kernel_nothing(empty: Netns, kernel: Nftables) -> None:
    """No batch, so no new generation."""
    transaction = Transaction(INET, TABLE)
    assert not transaction
    before = kernel.generation()
    kernel.commit(transaction)
    assert kernel.generation() == before
    assert bool(table())


@root
def test_a_long_batch_is_one_batch(empty: Netns, kernel: Nftables) -> None:
    """Two hundred elements: one generation, every acknowledgement read."""
    transaction = table()
    transaction.add_set("some", SetType([IPV4_ADDR]))
    for number in range(200):
        transaction.add_element("some", number.to_bytes(4, "big"), comment=f"mynet/ctr{number}/eth0")
    before = kernel.generation()
    kernel.commit(transaction)
    assert kernel.generation() == before + 1
    found = {element.key: element.comment for element in kernel.elements(INET, TABLE, "some")}
    assert found == {number.to_bytes(4, "big"): f"mynet/ctr{number}/eth0" for number in range(200)}


# again and again


@root
def test_repeatedly_tries_again_only_where_others_got_in_the_way(empty: Netns, kernel: Nftables) -> None:
    """A stale generation is tried again; an error of another kind is not."""
    turns = []

    def late() -> None:
        generation = kernel.generation()
        turns.append(generation)
        if len(turns) < 4:
            empty.run("nft", f"add table inet somebody{len(turns)}")
        kernel.commit(table(), generation)

    kernel.repeatedly(late)
    assert len(turns) == 4
    assert kernel.has_table(INET, TABLE)
    tried = []

    def wrong() -> None:
        tried.append(1)
        raise NftablesError("no", errno.EPERM)

    with pytest.raises(NftablesError):
        kernel.repeatedly(wrong)
    assert len(tried) == 1


@root
def test_repeatedly_gives_up_in_the_end(empty: Netns, kernel: Nftables) -> None:
    """It tries a bounded number of times, and then tells the last error."""
    tried = []

    def never() -> None:
        tried.append(1)
        raise NftablesError("busy", errno.EBUSY)

    with pytest.raises((NftablesError, TryAgainLater)):
        kernel.repeatedly(never)
    assert 5 <= len(tried) <= 1000


@root
def test_repeatedly_outlasts_a_crowd_of_changes(
    empty: Netns, kernel: Nftables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred generations that go by cost it a second and not its patience; that has an end, which is code 11."""
    clock, tried = Clock(monkeypatch), []

    def crowded() -> None:
        tried.append(clock.now)
        if len(tried) < 100:
            raise NftablesError("went by", errno.ERESTART)

    kernel.repeatedly(crowded)
    assert len(tried) == 100
    assert clock.pauses == sorted(clock.pauses)
    assert 0.2 < clock.now < 2

    def never() -> None:
        raise NftablesError("went by", errno.ERESTART)

    began = clock.now
    with pytest.raises(TryAgainLater) as told:
        kernel.repeatedly(never)
    assert told.value.code == 11
    assert clock.now - began == pytest.approx(nftables._PATIENCE)


@root
def test_who_is_disturbed_too_often_works_alone(empty: Netns, kernel: Nftables) -> None:
    """A stranger changes something else in each attempt: after a few the generation is compared no more."""
    generations = []

    def disturbed() -> None:
        generations.append(kernel.generation())
        empty.run("nft", f"add table inet somebody{len(generations)}")
        kernel.commit(table(), generations[-1])

    kernel.repeatedly(disturbed)
    assert generations[-1] == 0 and all(generations[:-1])
    assert kernel.has_table(INET, TABLE)
    assert kernel.generation() > 0


@root
def test_who_works_alone_still_sees_what_is_there_already(empty: Netns, kernel: Nftables) -> None:
    """An element that somebody made meanwhile is an error, and looked at in the next attempt."""
    transaction = table()
    transaction.add_set("some", SetType([IPV4_ADDR]))
    kernel.commit(transaction)
    seen = []

    def change() -> None:
        generation, key = kernel.generation(), bytes(4)
        there = kernel.element(INET, TABLE, "some", key)
        seen.append((generation, there.comment if there else ""))
        if there is None:
            empty.run("nft", f"add table inet somebody{len(seen)}")
            if not generation:
                empty.run("nft", f'add element inet {TABLE} some {{ 0.0.0.0 comment "theirs" }}')
            transaction = Transaction(INET, TABLE)
            transaction.add_element("some", key, comment="ours")
            kernel.commit(transaction, generation)

    kernel.repeatedly(change)
    assert seen[-2:] == [(0, ""), (0, "theirs")]


@root
def test_nobody_of_ours_is_at_work_beside_one_that_works_alone(empty: Netns, kernel: Nftables) -> None:
    """It begins when the last of the others has ended, and those that come meanwhile wait for it."""
    other, inside, last, order = Nftables(), threading.Event(), threading.Event(), list[str]()
    attempts = []

    def alone() -> None:
        attempts.append(1)
        if kernel.generation():
            if len(attempts) == nftables._DISTURBED:
                last.set()
            raise NftablesError("went by", errno.ERESTART)
        order.append("alone begins")
        late.start()
        late.join(0.2)
        order.append("alone ends")

    def beside() -> None:
        inside.set()
        assert last.wait(30)
        order.append("beside ends")

    late = threading.Thread(target=lambda: other.repeatedly(lambda: order.append("late")))
    third = Nftables()
    first = threading.Thread(target=lambda: third.repeatedly(beside))
    waiting = threading.Thread(target=lambda: kernel.repeatedly(alone))
    first.start()
    assert inside.wait(30)
    waiting.start()
    for thread in (first, waiting):
        thread.join(30)
    late.join(30)
    for each in (other, third):
        each.close()
    assert order == ["beside ends", "alone begins", "alone ends", "late"]


@root
def test_without_a_lock_each_attempt_is_compared(
    empty: Netns, kernel: Nftables, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Where /run cannot be written nobody can be alone."""
    (tmp_path / "file").touch()
    monkeypatch.setattr("cni.kernel.exclusive._FOLDER", str(tmp_path / "file" / "none"))
    generations = []

    def disturbed() -> None:
        generations.append(kernel.generation())
        if len(generations) < 10:
            empty.run("nft", f"add table inet somebody{len(generations)}")
        kernel.commit(table(), generations[-1])

    kernel.repeatedly(disturbed)
    assert len(generations) == 10 and all(generations)


@root
def test_a_chain_that_somebody_fills_meanwhile_stays(empty: Netns, kernel: Nftables) -> None:
    """Without a generation too: what was not seen is not removed."""
    transaction = table()
    transaction.add_chain("some")
    transaction.add_rule("some", [nft.ACCEPT], "seen")
    kernel.commit(transaction)
    others = chains.Table(kernel, INET, TABLE)

    def disturbed() -> None:
        chains.drop(others, ["some"], [])
        empty.run("nft", f'add rule inet {TABLE} some accept comment "unseen"')

    with pytest.raises(NftablesError) as told:
        others.change(disturbed)
    assert told.value.errno == errno.EBUSY
    assert {rule.comment for rule in kernel.rules(INET, TABLE, "some")} == {"seen", "unseen"}


@root
def test_rules_that_count_are_known_by_their_handles(empty: Netns, kernel: Nftables) -> None:
    """Two dumps of rules are the same although packets were counted between them."""
    rule = Answer(10 << 8 | 6, 0, 1, bytes(20) + attribute(3, bytes(8)) + attribute(4, b"12 packets"))
    same = Answer(10 << 8 | 6, 0, 2, bytes(20) + attribute(3, bytes(8)) + attribute(4, b"99 packets"))
    other = Answer(10 << 8 | 6, 0, 2, bytes(20) + attribute(3, b"\1" * 8) + attribute(4, b"12 packets"))
    assert kernel.essence([rule]) == kernel.essence([same]) != kernel.essence([other])
    assert kernel.essence([rule]) != kernel.essence([rule, rule])


@root
def test_two_that_count_up_lose_nothing(empty: Netns) -> None:
    """Each reads, adds one and writes under the generation that it read, in threads of the same namespace."""
    setup = Nftables()
    transaction = table()
    transaction.add_set("count", SetType([INET_SERVICE], [INET_SERVICE]))
    transaction.add_element("count", b"\0\0", b"\0\0")
    setup.commit(transaction)
    faults: list[BaseException] = []

    def count(kernel: Nftables) -> None:
        def change() -> None:
            generation = kernel.generation()
            found = kernel.element(INET, TABLE, "count", b"\0\0")
            assert found is not None
            transaction = Transaction(INET, TABLE)
            transaction.delete_element("count", b"\0\0")
            transaction.add_element("count", b"\0\0", (int.from_bytes(found.data, "big") + 1).to_bytes(2, "big"))
            kernel.commit(transaction, generation)

        try:
            for _ in range(20):
                kernel.repeatedly(change)
        except BaseException as error:
            faults.append(error)

    kernels = [Nftables(), Nftables()]
    threads = [threading.Thread(target=count, args=(kernel,)) for kernel in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = setup.element(INET, TABLE, "count", b"\0\0")
    for kernel in (setup, *kernels):
        kernel.close()
    assert faults == []
    assert found is not None and int.from_bytes(found.data, "big") == 40


# what is not there


@root
def test_what_does_not_exist_is_nothing_and_no_error(kernel: Nftables) -> None:
    """Table, chain, set, rules, elements; on a node where nothing of nftables is used."""
    assert not kernel.has_table(INET, TABLE)
    assert kernel.chain(INET, TABLE, "c") is None
    assert not kernel.has_set(INET, TABLE, "s")
    assert kernel.sets(INET, TABLE) == []
    assert kernel.rules(INET, TABLE, "c") == []
    assert kernel.element(INET, TABLE, "s", bytes(4)) is None
    assert kernel.elements(INET, TABLE, "s") == []
    assert kernel.elements_of(INET, TABLE, "s", [bytes(4)] * 3) in ([None] * 3, [None])
    assert not beside(kernel, "s", [])
    kernel.commit(table())
    assert kernel.rules(INET, TABLE, "c") == []
    assert kernel.elements(INET, TABLE, "s") == []
    assert not beside(kernel, "s", [])


@root
def test_one_more_among_many_is_seen(kernel: Nftables) -> None:
    """For none, one and three hundred elements, which need more than one datagram of answers."""
    transaction = table()
    transaction.add_set("some", SetType([IPV4_ADDR]))
    kernel.commit(transaction)
    assert not beside(kernel, "some", [])
    keys = [number.to_bytes(4, "big") for number in range(300)]
    for some in (keys[:150], keys[150:]):
        transaction = Transaction(INET, TABLE)
        for key in some:
            transaction.add_element("some", key)
        kernel.commit(transaction)
    assert beside(kernel, "some", [])
    assert not beside(kernel, "some", keys)
    for missing in (0, 150, 299):
        assert beside(kernel, "some", keys[:missing] + keys[missing + 1 :])


@root
def test_elements_of_asks_for_exactly_these(kernel: Nftables) -> None:
    """Some of them missing: in their order, None where there is none; or up to the first one that is missing."""
    transaction = table()
    transaction.add_set("some", SetType([IPV4_ADDR]))
    there = [number.to_bytes(4, "big") for number in range(0, 120, 1) if number not in (50, 51, 90)]
    for key in there:
        transaction.add_element("some", key, comment=key.hex())
    kernel.commit(transaction)
    asked = [number.to_bytes(4, "big") for number in range(121)]
    found = kernel.elements_of(INET, TABLE, "some", asked)
    assert [element.key if element else None for element in found] == [key if key in there else None for key in asked]
    assert all(element is None or element.comment == element.key.hex() for element in found)
    assert [element.key for element in kernel.elements(INET, TABLE, "some", asked[40:60])] == asked[40:50]


# comments and names of every kind


@root
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=30))
def test_comments_come_back_as_they_went(kernel: Nftables, text: str) -> None:
    """On elements and rules, whatever a person may call a network."""
    transaction = Transaction(INET, f"w{next(_numbers)}")
    transaction.add_table()
    transaction.add_set("some", SetType([IPV4_ADDR]))
    transaction.add_element("some", bytes(4), comment=text)
    transaction.add_chain("one")
    transaction.add_rule("one", [nft.ACCEPT], text)
    kernel.commit(transaction)
    found = kernel.element(INET, transaction.table, "some", bytes(4))
    assert found is not None and found.comment == text
    assert [rule.comment for rule in kernel.rules(INET, transaction.table, "one")] == [text]


@pytest.mark.parametrize(
    ("data", "comment"),
    [
        (b"", ""),
        (b"\x00\x03ab\0", "ab"),
        (b"\x01\x04\x01\0\0\0\x00\x03ab\0", "ab"),
        (b"\x01\x04\x01\0\0\0", ""),
        (b"\x00\x00", ""),
        (b"\x00\x63ab\0", "ab"),
        (b"\x00\x02\xff\0", "\ufffd"),
    ],
)
def test_an_elements_comment_is_one_part_of_its_user_data(data: bytes, comment: str) -> None:
    """nft writes others beside it, and a length may lie."""
    assert nftables._comment(data) == comment


@root
def test_rules_of_others_are_read_without_a_fault(empty: Netns, kernel: Nftables) -> None:
    """Expressions that we never make, rules without and with long comments, rules of iptables."""
    long = "c" * 128
    script = f"""
table inet {TABLE} {{
  counter hits {{ }}
  limit slow {{ rate 3/second; }}
  chain target {{ }}
  chain one {{
    tcp dport {{ 22, 80-90 }} ct state new counter name hits log prefix "x" accept comment "{long}"
    meta mark set 0x7 limit name slow
    ip saddr vmap {{ 10.0.0.1 : jump target, 10.0.0.2 : goto target }}
    numgen inc mod 2 vmap {{ 0 : drop, 1 : goto target }}
    goto target
  }}
}}
"""
    empty.run("nft", "-f", "-", stdin=script)
    rules = kernel.rules(INET, TABLE, "one")
    assert [rule.comment for rule in rules] == [long, "", "", "", ""]
    assert rules[-1].jumps_to() == ["target"]
    empty.run(
        "iptables",
        "-t",
        "nat",
        "-A",
        "POSTROUTING",
        "-s",
        "10.0.0.1",
        "-m",
        "comment",
        "--comment",
        "x",
        "-j",
        "RETURN",
    )
    (rule,) = kernel.rules(IPV4, "nat", "POSTROUTING")
    assert rule.jumps_to() == []


# records


def owned(*fields: Type) -> Table:
    """A table whose only map are records with these fields."""
    return Table(
        INET, TABLE, {"records": record_map(*fields)}, [Chain("some", None, [("", [nft.ACCEPT])])], ["records"]
    )


@root
def test_records_are_found_by_the_links_name_alone(kernel: Nftables) -> None:
    """In order, however many; another attachment's, and one whose numbers follow, are not read along."""
    one, two = Attachment("net1", "c1", "eth0"), Attachment("net1", "c2", "eth0")
    described = owned(IPV4_ADDR, INET_SERVICE)
    mine = [[bytes([10, 0, number >> 8, number & 255]), number.to_bytes(2, "big")] for number in range(200)]
    change = Change(kernel, described)
    change.restore()
    change.record("records", one, mine)
    change.record("records", two, mine[:3])
    change.commit()
    records = Ledger(kernel, described)
    assert records.fields("records", one.link) == mine
    assert records.fields("records", two.link) == mine[:3]
    assert records.fields("records", "vethnobody") == []
    assert {element.comment for element in records.recorded("records", one.link)} == {"net1/c1/eth0"}
    assert set(records.found("net1")) == {one.link, two.link}
    assert records.found("net2") == []
    change = Change(kernel, described)
    change.erase("records", one.link, len(mine))
    change.commit()
    assert all(change.deletes("records", record_key(one.link, number)) for number in range(200))
    assert records.fields("records", one.link) == []
    assert records.fields("records", two.link) == mine[:3]


@root
def test_a_network_whose_name_begins_another_is_told_apart(kernel: Nftables) -> None:
    """``net`` and ``net1``, and names of 200 letters that differ in the last."""
    names = ["net", "net1", "n" * 200 + "a", "n" * 200 + "b"]
    attachments = [Attachment(name, "c1", "eth0") for name in names]
    change = Change(kernel, owned(IPV4_ADDR))
    change.restore()
    for attachment in attachments:
        change.record("records", attachment, [[bytes(4)]])
    change.commit()
    for attachment in attachments:
        assert Ledger(kernel, owned(IPV4_ADDR)).found(attachment.network) == [attachment.link]


# the batch itself


def test_a_batch_begins_with_the_generation_that_it_was_made_for(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first message is BATCH_BEGIN for nf_tables with the generation in network order, its last BATCH_END."""
    kernel = Nftables()
    sent: list[bytes] = []
    real = kernel.send

    def send(data: "bytes | bytearray") -> int:
        sent.append(bytes(data))
        return real(data)

    monkeypatch.setattr(kernel, "send", send)
    kernel.commit(table(), kernel.generation())
    kernel.close()
    batch = sent[-1]
    messages, offset = [], 0
    while offset < len(batch):
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", batch, offset)
        messages.append((kind, flags, sequence, batch[offset + 16 : offset + length]))
        offset += length + 3 & ~3
    kinds = [kind for kind, _, _, _ in messages]
    assert kinds[0] == 16 and kinds[-1] == 17 and all(kind >> 8 == 10 for kind in kinds[1:-1])
    assert [sequence for _, _, sequence, _ in messages] == sorted({sequence for _, _, sequence, _ in messages})
    body = messages[0][3]
    assert body[:4] == struct.pack("=BB", 0, 0) + socket.htons(10).to_bytes(2, "little")
    assert struct.unpack_from("=HH", body, 4) == (8, 1)
    assert int.from_bytes(body[8:12], "big") > 0


@root
def test_a_family_that_the_kernel_has_not_hides_no_other(
    empty: Netns, kernel: Nftables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Older kernels refuse what they have no module for, such as bridge; that says nothing of inet."""
    kernel.commit(table())

    with monkeypatch.context() as without:
        without.setattr(Answer, "error", KernelError(errno.EAFNOSUPPORT))
        assert kernel.rules(BRIDGE, "nat", "PREROUTING") == []
    assert kernel.has_table(INET, TABLE)
    assert not kernel.absent


@root
def test_a_node_has_no_socket_before_the_first_use(empty: Netns) -> None:
    """The fork server's children stay a moment where there is one; whoever has a node of his own gives it back."""
    node, before = Node(), len(os.listdir("/proc/self/fd"))
    assert not node.used_nftables
    kernel = node.nftables
    assert node.used_nftables and node.nftables is kernel
    kernel.commit(table())
    assert kernel.has_table(INET, TABLE) and not beside(kernel, "none", [])
    node.close()
    assert not node.used_nftables and len(os.listdir("/proc/self/fd")) == before


# more than one datagram


def _in_small_pieces(kernel: Nftables, monkeypatch: pytest.MonkeyPatch, room: int = 2048) -> list[int]:
    """The socket takes no more than so much at once; the answer grows by the size of each batch that is sent."""
    sizes: list[int] = []
    send = kernel.send
    monkeypatch.setattr(kernel, "make_room", lambda size: room)
    monkeypatch.setattr(kernel, "send", lambda data: (sizes.append(len(data)), send(data))[1])
    return sizes


def _many(count: int) -> Transaction:
    transaction = table()
    transaction.add_chain("some")
    for number in range(count):
        transaction.add_rule("some", [nft.ACCEPT], f"rule {number}")
    return transaction


@root
@pytest.mark.parametrize("compared", [True, False])
def test_what_one_datagram_cannot_hold_goes_in_several(
    kernel: Nftables, monkeypatch: pytest.MonkeyPatch, compared: bool
) -> None:
    """In order, none larger than the room; each stands on the generation that the one before it made."""
    sizes = _in_small_pieces(kernel, monkeypatch)
    kernel.commit(_many(100), kernel.generation() if compared else None)
    assert max(sizes) <= 2048
    assert len([size for size in sizes if size > 100]) > 3
    assert [rule.comment for rule in kernel.rules(INET, TABLE, "some")] == [f"rule {n}" for n in range(100)]


@root
def test_a_later_batch_that_fails_says_that_some_are_in_force(
    empty: Netns, kernel: Nftables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's change between two of them is seen; the same in front of the first leaves nothing."""
    _in_small_pieces(kernel, monkeypatch)
    before = kernel.generation()
    empty.run("nft", "add table inet stranger")
    with pytest.raises(NftablesError) as told:
        kernel.commit(_many(100), before)
    assert (told.value.errno, told.value.partly) == (errno.ERESTART, False)
    assert not kernel.has_table(INET, TABLE)
    batches, send = [], kernel._send

    def interrupted(batch: Any, generation: "int | None") -> None:
        batches.append(batch)
        if len(batches) == 2:
            empty.run("nft", "add table inet another")
        send(batch, generation)

    monkeypatch.setattr(kernel, "_send", interrupted)
    with pytest.raises(NftablesError) as told:
        kernel.commit(_many(100), kernel.generation())
    assert (told.value.errno, told.value.partly, len(batches)) == (errno.ERESTART, True, 2)
    assert 0 < len(kernel.rules(INET, TABLE, "some")) < 100


def test_a_buffer_is_asked_for_with_and_without_the_privilege(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first user namespace's privilege is missing, what everybody may have is the limit."""

    class Socket:
        def __init__(self, allowed: bool) -> None:
            self.allowed, self.sizes = allowed, {socket.SO_SNDBUF: 1000, socket.SO_RCVBUF: 1000}

        def setsockopt(self, level: int, option: int, value: int) -> None:
            forced = {32: socket.SO_SNDBUF, 33: socket.SO_RCVBUF}
            if option in forced and not self.allowed:
                raise PermissionError(errno.EPERM, "no")
            self.sizes[forced.get(option, option)] = value if option in forced else min(value, 200_000) * 2

        def getsockopt(self, level: int, option: int) -> int:
            return self.sizes[option]

    made = Netlink(0)
    for allowed, granted in ((True, 2_000_000 - 32), (False, 400_000 - 32)):
        made._socket = Socket(allowed)  # type: ignore[assignment]
        assert made.make_room(1_000_000) == granted
