"""Who answers at a host port and who waits for it: the rules of a line, without a kernel."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from cni.address import Address
from cni.attachment import Attachment
from cni_portmap.holder import Liveness
from cni_portmap.line import Claim, Place
from cni_portmap.published import Entry, Published

ALL, ONE, TWO = "0.0.0.0", "192.0.2.1", "192.0.2.2"


def claim(owner: str, host: str = ALL) -> Claim:
    """A claim of tcp port 8080."""
    inside = Address.parse(f"10.1.0.{ord(owner[0]) - 60}")
    return Claim(f"net/{owner}/eth0", Entry(6, (Address.parse(host), 8080), (inside, 80)))


def place(*claims: Claim) -> Place:
    """One at which these asked, one after the other."""
    made = Place()
    for each in claims:
        made.ask(each)
        made.settle()
    return made


def answers(at: Place, host: str = ONE) -> str:
    """Whose is what a packet to an address finds: the specific one comes first."""
    found = at.answering.get(Address.parse(host).packed) or at.answering.get(b"")
    return found.comment.split("/")[1] if found else ""


def in_go(claims: list[Claim], host: str) -> str:
    """The same where the oldest rule stands first, as in Go's chains."""
    packed = Address.parse(host).packed
    found = next((each for each in claims if each.host in (b"", packed)), None)
    return found.comment.split("/")[1] if found else ""


def test_the_oldest_answers_and_the_next_follows() -> None:
    """One has the port, two wait; who goes in the middle is missed by nobody."""
    at = place(claim("a"), claim("b"), claim("c"), claim("d"))
    assert answers(at) == "a"
    assert [at.position(claim(owner)) for owner in "abcd"] == [0, 1, 2, 3]
    at.take_out("net/b/eth0")
    at.settle()
    assert (answers(at), at.position(claim("c"))) == ("a", 1)
    at.take_out("net/a/eth0")
    at.settle()
    assert (answers(at), at.position(claim("d"))) == ("c", 1)


def test_a_claim_for_all_addresses_does_not_wait_for_one() -> None:
    """It has the others at once, and that one later; those who waited for that one before come first."""
    at = place(claim("a", ONE), claim("c", ONE), claim("b"))
    assert (answers(at, ONE), answers(at, TWO)) == ("a", "b")
    at.take_out("net/a/eth0")
    at.settle()
    assert (answers(at, ONE), answers(at, TWO)) == ("c", "b")
    at.take_out("net/c/eth0")
    at.settle()
    assert (answers(at, ONE), at.line) == ("b", [])


def test_one_address_waits_for_an_older_claim_for_all() -> None:
    """And only for that: another address is nobody's yet."""
    at = place(claim("b"), claim("a", ONE))
    assert answers(at, ONE) == "b" and at.position(claim("a", ONE)) == 1
    assert not at.waits_for_nobody(claim("a", ONE))
    at.take_out("net/b/eth0")
    assert at.waits_for_nobody(claim("a", ONE))
    at.settle()
    assert answers(at, ONE) == "a" and answers(at, TWO) == ""


def test_own_claims_do_not_wait_for_each_other() -> None:
    """One address leads to one port of the container, all others to another."""
    at = place(claim("a", ONE), claim("a"))
    assert len(at.answering) == 2 and at.line == []
    at = place(claim("a"), claim("a", ONE))
    assert len(at.answering) == 2 and at.line == []


def test_asking_again_keeps_the_place() -> None:
    """Whoever has the port keeps it, whoever waits keeps the number, and leads where it says now."""
    at = place(claim("a"), claim("b"), claim("c"))
    before = at.copy()
    for owner in "abc":
        at.ask(claim(owner))
        at.settle()
    assert (at.answering, at.line) == (before.answering, before.line)
    other = Claim("net/b/eth0", Entry(6, (Address.parse(ALL), 8080), (Address.parse("10.1.0.77"), 81)))
    at.ask(other)
    at.settle()
    assert at.line[0] is other and len(at.line) == 2


def test_the_dead_are_passed_over() -> None:
    """They leave the line when it would be their turn."""
    at = place(claim("a"), claim("b"), claim("c"))
    at.take_out("net/a/eth0")
    at.settle(lambda each: each.comment == "net/b/eth0")
    assert answers(at) == "c" and at.line == []


@pytest.mark.parametrize("seed", range(60))
def test_at_every_address_the_oldest_claim_answers(seed: int) -> None:
    """As in Go's chains, whoever comes and goes in whatever order, asks again, or is looked at when nothing changed."""
    draw = random.Random(seed)
    at, claims = Place(), []
    for _ in range(30):
        if claims and draw.random() < 0.45:
            owner = draw.choice(claims).comment
            claims = [each for each in claims if each.comment != owner]
            at.take_out(owner)
        else:
            new = claim(draw.choice("abcdefgh"), draw.choice([ALL, ONE, TWO]))
            if not any(each.is_same(new) for each in claims):
                # two claims of one attachment come in one ADD, the specific one first
                claims = [each for each in claims if each.comment != new.comment]
                at.take_out(new.comment)
                at.settle()
                claims.append(new)
            at.ask(new)
        at.settle()
        for host in (ONE, TWO):
            assert answers(at, host) == in_go(claims, host), (seed, host)
        first = {each.comment: number for number, each in reversed(list(enumerate(at.in_order())))}
        assert set(first) == {each.comment for each in claims}


def test_a_holder_whose_record_goes_while_it_is_read() -> None:
    """Its DEL ends between two requests: it is as one without a record, and the change is tried again."""
    ledger: Any = SimpleNamespace(recorded=lambda *_: [object()], fields=lambda *_: [])
    site: Any = SimpleNamespace(rtnl=None, attachment=Attachment("net", "b", "eth0"))
    assert Liveness(ledger, site, Published()).death(claim("a")) == "there is no record of it"
