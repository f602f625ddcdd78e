"""Masquerade as an effect: names and texts without a kernel; make, compare, remove and collect on one of one's own."""

import errno
import itertools
import os
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni.address import Address, Prefix
from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError
from cni.go import names
from cni.kernel import backend, iptables, netlink, program, rulespec
from cni.kernel.transaction import GET, SUBSYSTEM, message_type
from cni.macspoof import MacSpoofCheck
from cni.masquerade import Masquerade
from cni.site import Site
from node.effects import beside, raising
from node.namespace import Netns

root = pytest.mark.root
ONE, TWO = Attachment("net1", "c1", "eth0"), Attachment("net1", "c2", "eth0")
_numbers = itertools.count()


def prefixes(*texts: str) -> list[Prefix]:
    """Addresses with their lengths."""
    return [Prefix.parse(text) for text in texts]


FOUR, SIX = prefixes("10.1.0.2/24"), prefixes("2001:db8:1::2/64")


def ruleset(at: Netns) -> str:
    """What nft lists, white space made one blank."""
    return re.sub(r"\s+", " ", at.run("nft", "list", "ruleset")).strip()


# texts


def test_describe_is_the_rule_and_whose_address_it_is() -> None:
    """As golden text, for both families."""
    effect = Masquerade(Site(ONE), FOUR + SIX)
    six = "pods_2001_0db8_0001_0000_0000_0000_0000_0000/64"
    assert effect.describe().splitlines() == [
        "ip saddr @pods_10.1.0.0/24 ip daddr != 10.1.0.0/24 masquerade: 10.1.0.2 of net1/c1/eth0",
        f"ip6 saddr @{six} ip6 daddr != 2001:db8:1::/64 masquerade: 2001:db8:1::2 of net1/c1/eth0",
    ]
    assert Masquerade(Site(ONE)).describe() == ""


def test_the_identity_follows_from_the_attachment_alone() -> None:
    """Addresses and backend play no part; another interface is another identity."""
    assert Masquerade(Site(ONE), FOUR).identity == Masquerade(Site(ONE), SIX, "iptables").identity == ONE.link
    assert Masquerade(Site(ONE)).identify(Attachment("net1", "c1", "eth1")) != ONE.link


def test_gos_chain_has_gos_name() -> None:
    """Network and container id with nothing between them: corner 5, so ``a``+``bc`` equals ``ab``+``c``."""
    assert names.masquerade_chain(Attachment("n1", "ctr1", "eth0")) == "CNI-c189d8b6a7b4d184c9f70d4a"
    assert names.masquerade_chain(Attachment("n1", "ctr1", "eth9")) == "CNI-c189d8b6a7b4d184c9f70d4a"
    one, other = (names.masquerade_chain(Attachment(*parts, "eth0")) for parts in (("a", "bc"), ("ab", "c")))
    assert one == other
    assert Attachment("a", "bc", "eth0").link != Attachment("ab", "c", "eth0").link


# make, compare, remove

ADDRESSES: list[list[str]] = [
    ["10.1.0.2/24"],
    ["2001:db8:1::2/64"],
    ["10.1.0.2/24", "2001:db8:1::2/64"],
    ["10.1.0.2/24", "10.1.0.3/24"],
    ["10.1.0.2/24", "10.2.0.2/24"],
    ["10.1.0.2/32"],
    ["2001:db8::7/128"],
    ["10.1.0.2/31"],
    ["10.1.2.3/0"],
    ["10.1.0.2/24", "10.1.0.2/16"],
    ["10.1.0.2/24", "10.1.0.2/24"],
    ["0.0.0.5/8", "255.255.255.254/1"],
    ["::5/64", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/1"],
    ["10.1.0.2/13"],
    ["2001:db8::2/61"],
]


@root
@pytest.mark.parametrize("texts", ADDRESSES, ids=" ".join)
def test_what_is_made_is_compared_and_removed(empty: Netns, texts: list[str]) -> None:
    """Each rule that ``describe`` tells is there once; made twice it is the same; removed, nothing is left."""
    mine = prefixes(*texts)
    effect = Masquerade(Site(ONE), mine)
    effect.make()
    made = ruleset(empty)
    for line in effect.describe().splitlines():
        rule, _, owned = line.partition(": ")
        if Prefix.parse(rule.split("!= ")[1].split()[0]).length == 0:
            continue  # nft prints a network of all addresses in its own way
        assert made.count(f"{_as_nft(rule)} comment") == 1, f"{rule} in {made}"
        assert f'{owned.split(" of ")[0]} comment "net1/c1/eth0"' in made
    effect.compare(raising)
    effect.make()
    effect.compare(raising)
    assert sorted(ruleset(empty).split()) == sorted(made.split())
    Masquerade(Site(ONE)).remove()
    assert ruleset(empty) == ""


def _as_nft(rule: str) -> str:
    """nft leaves out the length of a host's address."""
    return re.sub(r"(daddr != \S+)(/32|/128) ", r"\1 ", rule)


@root
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_addresses_of_any_pods_come_and_go(empty: Netns, data: st.DataObject) -> None:
    """Pods with addresses of any network are made, checked and removed in any order; then nothing is left."""

    def prefix(version: int) -> st.SearchStrategy[Prefix]:
        size = 4 if version == 4 else 16
        address = st.binary(min_size=size, max_size=size).map(Address)
        return st.builds(Prefix, address, st.integers(1, size * 8))

    several = st.lists(prefix(4) | prefix(6), min_size=1, max_size=3, unique_by=lambda one: one.address)
    pods = data.draw(st.lists(several, min_size=1, max_size=4))
    taken: set[Address] = set()
    effects = []
    for number, mine in enumerate(pods):
        free = [one for one in mine if one.address not in taken]
        taken |= {one.address for one in free}
        if free:
            effects.append(Masquerade(Site(Attachment("net1", f"c{number}", "eth0")), free))
    # all is drawn before the first deed: hypothesis may give an example up while it draws
    order = data.draw(st.permutations(effects))
    empty.run("nft", "flush", "ruleset")
    for effect in effects:
        effect.make()
    for effect in effects:
        effect.compare(raising)
    left = list(effects)
    for effect in order:
        effect.remove()
        left.remove(effect)
        for other in left:
            other.compare(raising)
    assert ruleset(empty) == ""


@root
def test_other_addresses_replace_the_former(empty: Netns) -> None:
    """An attachment has what its last ADD gave it; a subnet that nobody uses any more may wait for the last DEL."""
    Masquerade(Site(ONE), FOUR + SIX).make()
    moved = prefixes("10.9.0.2/24")
    Masquerade(Site(ONE), moved).make()
    Masquerade(Site(ONE), moved).compare(raising)
    assert "10.1.0.2" not in ruleset(empty)
    assert "2001:db8:1::2 " not in ruleset(empty)
    for former in (FOUR, SIX):
        with pytest.raises(CheckFailed):
            Masquerade(Site(ONE), former).compare(raising)
    Masquerade(Site(ONE)).remove()
    assert ruleset(empty) == ""


@root
def test_compare_tells_the_address_that_is_missing(empty: Netns) -> None:
    """Without a table, of another attachment, and an address that was never given."""
    with pytest.raises(CheckFailed, match="postrouting is missing"):
        Masquerade(Site(ONE), FOUR).compare(raising)
    assert ruleset(empty) == ""
    Masquerade(Site(ONE), FOUR).make()
    with pytest.raises(CheckFailed, match=r"10\.1\.0\.2 is not masqueraded"):
        Masquerade(Site(TWO), FOUR).compare(raising)
    with pytest.raises(CheckFailed, match=r"10\.1\.0\.9 is not masqueraded"):
        Masquerade(Site(ONE), prefixes("10.1.0.9/24")).compare(raising)
    with pytest.raises(CheckFailed, match=r"10\.1\.0\.2 is not masqueraded"):
        Masquerade(Site(ONE), prefixes("10.1.0.2/25")).compare(raising)


@root
def test_an_address_goes_to_the_younger_and_the_older_ones_end_leaves_it(empty: Netns) -> None:
    """Element by element: the comment tells the present owner."""
    Masquerade(Site(ONE), FOUR).make()
    Masquerade(Site(TWO), FOUR).make()
    Masquerade(Site(TWO), FOUR).compare(raising)
    with pytest.raises(CheckFailed, match=r"10\.1\.0\.2 belongs to net1/c2/eth0 now"):
        Masquerade(Site(ONE), FOUR).compare(raising)
    before = ruleset(empty)
    Masquerade(Site(ONE), FOUR).remove()
    Masquerade(Site(TWO), FOUR).compare(raising)
    assert "c1" not in ruleset(empty) and "c1" in before
    Masquerade(Site(TWO)).remove()
    assert ruleset(empty) == ""


@root
def test_check_needs_no_program_to_tell_what_is_missing(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is there none is asked; where Go's chain is there, that none can be is no other fault."""
    with monkeypatch.context() as without:
        without.setattr(program, "_FOLDERS", ())
        without.setenv("PATH", "")
        for backend, fault in (("nftables", "postrouting is missing"), ("iptables", "there is no chain CNI-")):
            with pytest.raises(CheckFailed, match=fault):
                Masquerade(Site(ONE), FOUR, backend).compare(raising)
    Masquerade(Site(ONE), FOUR, "iptables").make()
    monkeypatch.setattr(program, "_FOLDERS", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CheckFailed, match="postrouting is missing"):
        Masquerade(Site(ONE), FOUR).compare(raising)
    with pytest.raises(CNIError, match="no program iptables"):
        Masquerade(Site(ONE), FOUR, "iptables").compare(raising)


@root
def test_check_makes_no_table_of_iptables_legacy(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is the node's iptables: to list one is to make it."""
    monkeypatch.setattr(iptables, "PROGRAMS", iptables.LEGACY)
    for asked in ("nftables", "iptables"):
        with pytest.raises(CheckFailed):
            Masquerade(Site(ONE), FOUR + SIX, asked).compare(raising)
    assert empty.run("cat", "/proc/net/ip_tables_names", "/proc/net/ip6_tables_names", check=False) == ""


@root
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_an_address_that_several_networks_have_is_masqueraded_until_the_last_ones_end(
    empty: Netns, order: tuple[int, ...]
) -> None:
    """Whoever goes first, in both families; CHECK of those that stay passes, and the last takes the table along."""
    pods = [Masquerade(Site(Attachment(f"net{number}", "c1", "eth0")), FOUR + SIX) for number in range(3)]
    for pod in pods:
        pod.make()
    for place, number in enumerate(order):
        for left in order[place:]:
            pods[left].compare(raising)
            pods[left].make()  # who moves to the address it has takes nothing from the others
        pods[number].remove()
    assert ruleset(empty) == ""


@root
def test_a_shared_address_that_one_network_gives_up_is_the_others_still(empty: Netns) -> None:
    """By an ADD with other addresses; when nobody shares it any more it goes with its subnet's set and rule."""
    other = Masquerade(Site(Attachment("net2", "c1", "eth0")), FOUR)
    Masquerade(Site(ONE), FOUR).make()
    other.make()
    Masquerade(Site(other.attachment), prefixes("10.9.0.2/24")).make()
    Masquerade(Site(ONE), FOUR).compare(raising)
    assert '10.1.0.2 comment "net1/c1/eth0"' in ruleset(empty)
    Masquerade(Site(ONE)).remove()
    assert "10.1.0." not in ruleset(empty)
    Masquerade(Site(other.attachment), prefixes("10.9.0.2/24")).compare(raising)


@root
def test_an_attachment_without_addresses_has_nothing(empty: Netns) -> None:
    """It changes nothing beside others, and its DEL neither."""
    Masquerade(Site(ONE), FOUR).make()
    before = ruleset(empty)
    Masquerade(Site(TWO), []).make()
    assert ruleset(empty) == before
    Masquerade(Site(TWO)).remove()
    Masquerade(Site(ONE)).remove()
    assert ruleset(empty) == ""


@root
def test_present_discard_and_collect_go_by_network(empty: Netns) -> None:
    """GC's three questions, with two networks and both families."""
    other = Attachment("net2", "c1", "eth0")
    for number, attachment in enumerate((ONE, TWO, other), 2):
        Masquerade(Site(attachment), prefixes(f"10.1.0.{number}/24", f"2001:db8:1::{number}/64")).make()
    effect = Masquerade(Site(ONE))
    assert sorted(effect.present("net1")) == sorted([ONE.link, TWO.link])
    assert effect.present("net2") == [other.link]
    assert effect.collect("net1", [ONE, TWO]) == []
    assert effect.collect("net1", [ONE]) == [TWO.link]
    assert effect.present("net1") == [ONE.link]
    assert effect.collect("net1", []) == [ONE.link]
    assert effect.collect("net1", []) == []
    Masquerade(Site(other), prefixes("10.1.0.4/24", "2001:db8:1::4/64")).compare(raising)
    effect.discard(other.link)
    assert ruleset(empty) == ""


@root
def test_names_that_are_cut_are_told_apart(empty: Netns) -> None:
    """Container ids of 200 characters that differ in the last: comments of 120 bytes end in a hash."""
    long = [Attachment("net1", "c" * 200 + end, "eth0") for end in "ab"]
    for number, attachment in enumerate(long, 2):
        Masquerade(Site(attachment), prefixes(f"10.1.0.{number}/24")).make()
    comments = set(re.findall(r'comment "(net1/c+[^"]*)"', ruleset(empty)))
    assert len(comments) == 2 and {len(comment) for comment in comments} == {120}
    assert sorted(Masquerade(Site(ONE)).present("net1")) == sorted(attachment.link for attachment in long)
    Masquerade(Site(long[0])).remove()
    Masquerade(Site(long[1]), prefixes("10.1.0.3/24")).compare(raising)


@root
def test_no_program_is_needed(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """nftables over netlink alone; what may not start may not be missing."""

    def forbidden(*arguments: object, **more: object) -> None:
        raise AssertionError(f"something was started: {arguments}")

    monkeypatch.setattr(os, "posix_spawn", forbidden)
    Masquerade(Site(ONE), FOUR + SIX).make()
    Masquerade(Site(ONE), FOUR + SIX).compare(raising)
    Masquerade(Site(ONE)).remove()
    Masquerade(Site(ONE)).collect("net1", [])
    monkeypatch.undo()
    assert ruleset(empty) == ""


@root
def test_the_iptables_backend_without_iptables_is_an_error_that_names_the_remedy(
    empty: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made; DEL needs none for what iptables-nft made."""
    with monkeypatch.context() as without:
        without.setattr(program, "_FOLDERS", ())
        without.setenv("PATH", "")
        with pytest.raises(CNIError, match="no program iptables-restore") as told:
            Masquerade(Site(ONE), FOUR, "iptables").make()
    assert "ipMasqBackend" in told.value.details
    assert ruleset(empty) == ""
    Masquerade(Site(ONE), FOUR + SIX, "iptables").make()
    Masquerade(Site(ONE), FOUR + SIX, "iptables").compare(raising)
    assert "CNI-" in ruleset(empty)
    with monkeypatch.context() as without:
        without.setattr(program, "_FOLDERS", ())
        without.setenv("PATH", "")
        Masquerade(Site(ONE)).remove()
    assert "CNI-" not in ruleset(empty)


def targets(at: Netns) -> list[str]:
    """What the rules of Go's chain of ``c1`` do, in order."""
    listed = at.run("iptables", "-t", "nat", "-S", names.masquerade_chain(ONE))
    return [line.rsplit(" ", 1)[1] for line in listed.splitlines() if line.startswith("-A")]


class NoSocket(socket.socket):
    """No nfnetlink: a socket to it cannot be opened."""

    def __init__(self, family: int, kind: int, protocol: int) -> None:
        if protocol == netlink.NETFILTER:
            raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")
        super().__init__(family, kind, protocol)


class NoTables(socket.socket):
    """nfnetlink without nf_tables behind it: what is sent comes back as an error."""

    number = errno.EOPNOTSUPP

    def send(self, data: bytes) -> int:  # type: ignore[override]
        """Note the request's header, its type and its number."""
        self.header = bytes(data[:16])
        return len(data)

    def recv(self, size: int) -> bytes:  # type: ignore[override]
        """Refuse it."""
        if not self.header:
            raise BlockingIOError
        header, self.header = self.header, b""
        _, _, _, sequence, port = struct.unpack("=IHHII", header)
        return struct.pack("=IHHIIi", 36, 2, 0, sequence, port, -self.number) + header


class NoSubsystem(NoTables):
    """The same as Linux says it."""

    number = errno.EINVAL


class NoFamily(NoTables):
    """nf_tables that knows its generation, and nothing of the families that it is asked for."""

    number = errno.EAFNOSUPPORT

    def recv(self, size: int) -> bytes:  # type: ignore[override]
        """A generation before success, or the refusal."""
        _, kind, _, sequence, port = struct.unpack("=IHHII", self.header or bytes(16))
        if kind != message_type(GET, "GEN"):
            return super().recv(size)
        generation = struct.pack("=IHHII4xHH", 28, SUBSYSTEM << 8 | 15, 0, sequence, port, 8, 1) + b"\0\0\0\1"
        return generation + struct.pack("=IHHIIi", 36, 2, 0, sequence, port, 0) + self.header


@pytest.fixture(params=[NoSocket, NoTables, NoSubsystem])
def without_nf_tables(
    request: pytest.FixtureRequest, empty: Netns, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Netns]:
    """A kernel without them; as each call meets it."""
    monkeypatch.setattr(netlink, "socket", request.param)
    monkeypatch.setattr(backend, "_GOOD", str(tmp_path / "nf_tables"))  # what is known of the real kernel
    yield empty


@root
@pytest.mark.parametrize("without_nf_tables", [NoSocket, NoTables, NoSubsystem, NoFamily], indirect=True)
def test_without_nf_tables_there_is_nothing_to_remove_and_nothing_to_list(without_nf_tables: Netns) -> None:
    """DEL and GC of a network succeed; CHECK and ADD do not, and ADD names the remedy."""
    for effect in (Masquerade(Site(ONE), FOUR), MacSpoofCheck(Site(ONE), "02:00:00:00:00:01")):
        for _ in range(2):
            effect.remove()
            assert list(effect.present("net1")) == []
            assert effect.collect("net1", []) == []
        with pytest.raises(CheckFailed):
            effect.compare(raising)
        with pytest.raises(CNIError, match="kernel has no nftables|not supported") as told:
            effect.make()
        assert "ipMasqBackend" in told.value.details


@root
def test_without_nf_tables_iptables_legacy_masquerades(without_nf_tables: Netns) -> None:
    """The iptables that needs nf_tables is not asked then."""
    effect = Masquerade(Site(ONE), FOUR + SIX, "iptables")
    effect.make()
    effect.compare(raising)
    chain = names.masquerade_chain(ONE)
    assert f"-j {chain}" in without_nf_tables.run("iptables-legacy", "-w", "-t", "nat", "-S")
    assert f"-j {chain}" in without_nf_tables.run("ip6tables-legacy", "-w", "-t", "nat", "-S")
    assert "CNI-" not in ruleset(without_nf_tables)
    Masquerade(Site(ONE)).remove()
    assert chain not in without_nf_tables.run("iptables-legacy", "-w", "-t", "nat", "-S")
    with pytest.raises(CheckFailed):
        effect.compare(raising)


@root
def test_every_subnet_is_accepted_before_anything_is_masqueraded(empty: Netns) -> None:
    """Corner 4: of two addresses of one family Go's second ACCEPT comes too late. One MASQUERADE is enough."""
    Masquerade(Site(ONE), prefixes("10.1.0.2/24", "10.2.0.2/24"), "iptables").make()
    assert targets(empty) == ["ACCEPT", "ACCEPT", "MASQUERADE"]
    Masquerade(Site(ONE)).remove()
    assert "CNI-" not in ruleset(empty)


@root
def test_two_interfaces_share_gos_chain_and_each_takes_its_own_part(empty: Netns) -> None:
    """Corner 5, with the iptables backend: the chain goes with the last jump."""
    first, second = ONE, Attachment("net1", "c1", "eth1")
    one, two = prefixes("10.1.0.2/24"), prefixes("10.2.0.2/24")
    Masquerade(Site(first), one, "iptables").make()
    Masquerade(Site(second), two, "iptables").make()
    Masquerade(Site(first), one, "iptables").compare(raising)
    Masquerade(Site(second), two, "iptables").compare(raising)
    assert targets(empty) == ["ACCEPT", "ACCEPT", "MASQUERADE"]
    Masquerade(Site(first), one).remove()
    Masquerade(Site(second), two, "iptables").compare(raising)
    with pytest.raises(CheckFailed):
        Masquerade(Site(first), one, "iptables").compare(raising)
    Masquerade(Site(second), two).remove()
    assert "CNI-" not in ruleset(empty)


@pytest.fixture(params=["nft", "legacy"])
def either_iptables(request: pytest.FixtureRequest, empty: Netns, monkeypatch: pytest.MonkeyPatch) -> Netns:
    """The iptables that the node's alternative chose."""
    names = {4: f"iptables-{request.param}", 6: f"ip6tables-{request.param}"}
    if not all(map(program.find, names.values())):
        pytest.skip(f"{names[4]} is not installed")
    monkeypatch.setattr(iptables, "PROGRAMS", names)
    return empty


def chain_of_go(at: Netns) -> list[str]:
    """The rules about Go's chain of the two that share it."""
    text = at.run(iptables.PROGRAMS[4], "-w", "-t", "nat", "-S")
    return [line for line in text.splitlines() if names.masquerade_chain(LIKE_ONE) in line]


LIKE_ONE, LIKE_TWO = Attachment("net1", "1a", "eth0"), Attachment("net11", "a", "eth0")


@root
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("by", ["DEL", "DEL with addresses", "GC"])
def test_containers_of_two_networks_that_share_gos_chain_each_keep_their_part(
    either_iptables: Netns, by: str, turned: bool
) -> None:
    """Corner 5: network and container of the one give the same letters as those of the other."""
    one, two = (
        Masquerade(Site(LIKE_ONE), FOUR, "iptables"),
        Masquerade(Site(LIKE_TWO), prefixes("10.2.0.2/24"), "iptables"),
    )
    for effect in (two, one) if turned else (one, two):
        effect.make()
    for effect in (one, two):
        effect.compare(raising)
    if by == "GC":
        assert Masquerade(Site(LIKE_ONE)).collect("net1", []) == [names.masquerade_chain(LIKE_ONE)]
    else:
        Masquerade(Site(LIKE_ONE), FOUR if "with" in by else ()).remove()
    two.compare(raising)
    assert [line for line in chain_of_go(either_iptables) if "net1\\" in line or "10.1.0" in line] == []
    with pytest.raises(CheckFailed):
        one.compare(raising)
    Masquerade(Site(LIKE_TWO)).remove()
    assert chain_of_go(either_iptables) == []


@root
@pytest.mark.parametrize("comment", ["", 'name: "net1" id: "1', "an administrator's"])
def test_rules_whose_comment_tells_nobody_are_known_by_their_addresses(
    either_iptables: Netns, comment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of older plugins: no comment, or one that was cut."""
    chain, told = names.masquerade_chain(LIKE_ONE), ("-m", "comment", "--comment", comment) if comment else ()
    for words in (
        ("-N", chain),
        ("-A", chain, "-d", "10.1.0.0/24", *told, "-j", "ACCEPT"),
        ("-A", chain, "!", "-d", "224.0.0.0/4", *told, "-j", "MASQUERADE"),
        ("-A", "POSTROUTING", "-s", "10.1.0.2", *told, "-j", chain),
    ):
        either_iptables.run(iptables.PROGRAMS[4], "-w", "-t", "nat", *words)
    before = chain_of_go(either_iptables)
    Masquerade(Site(LIKE_ONE), prefixes("10.1.0.9/24")).remove()
    beside(monkeypatch, Address.parse("10.1.0.2"))
    Masquerade(Site(LIKE_ONE)).remove()
    assert chain_of_go(either_iptables) == before
    Masquerade(Site(LIKE_ONE), FOUR).remove()
    assert chain_of_go(either_iptables) == []


@root
def test_whoever_is_left_without_a_masquerade_of_his_own_keeps_the_others(either_iptables: Netns) -> None:
    """Ours once made one for all that shared the chain."""
    Masquerade(Site(LIKE_ONE), FOUR, "iptables").make()
    Masquerade(Site(LIKE_TWO), prefixes("10.2.0.2/24"), "iptables").make()
    (own,) = [line for line in chain_of_go(either_iptables) if "MASQUERADE" in line and "net11" in line]
    either_iptables.run(iptables.PROGRAMS[4], "-w", "-t", "nat", "-D", *rulespec.split(own)[1:])
    Masquerade(Site(LIKE_ONE)).remove()
    Masquerade(Site(LIKE_TWO), prefixes("10.2.0.2/24"), "iptables").compare(raising)
    Masquerade(Site(LIKE_TWO)).remove()
    assert chain_of_go(either_iptables) == []


@root
def test_the_backend_may_change_between_two_adds(empty: Netns) -> None:
    """DEL looks for both forms whatever the configuration says."""
    Masquerade(Site(ONE), FOUR, "iptables").make()
    Masquerade(Site(ONE), FOUR, "nftables").make()
    assert "CNI-" in ruleset(empty) and "pycni_masquerade" in ruleset(empty)
    Masquerade(Site(ONE)).remove()
    assert "CNI-" not in ruleset(empty) and "pycni_masquerade" not in ruleset(empty)
