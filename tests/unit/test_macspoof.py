"""The MAC spoof check's transactions on a kernel of one's own, and its parts that need none."""

import threading
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.errors import CheckFailed
from cni.kernel.nftables import Nftables, NftablesError
from cni.kernel.transaction import BRIDGE
from cni.macspoof import TABLE, MacSpoofCheck
from cni.site import Site
from node.effects import raising
from node.namespace import Netns

pytestmark = pytest.mark.root

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"
ONE, TWO = Attachment("net1", "c1", "eth0"), Attachment("net1", "c2", "eth0")


def elements() -> dict[str, list[tuple[bytes, bytes, str]]]:
    """Every element of the table's sets: key, datum, comment."""
    kernel = Nftables()
    try:
        return {
            name: sorted((e.key, e.data, e.comment) for e in kernel.elements(BRIDGE, TABLE, name))
            for name in sorted(kernel.sets(BRIDGE, TABLE))
        }
    finally:
        kernel.close()


def name(attachment: Attachment) -> bytes:
    """A link's name as the kernel keeps it."""
    return attachment.link.encode().ljust(16, b"\0")


def test_make_writes_a_guard_and_a_record(empty: Netns) -> None:
    """The whole content of the sets, byte for byte: names padded to 16 bytes, MACs to 8 in a concatenation."""
    MacSpoofCheck(Site(ONE), MAC).make()
    mac = bytes.fromhex(MAC.replace(":", ""))
    assert elements() == {
        "allowed": [(name(ONE) + mac + b"\0\0", b"", "")],
        "attachments": [(name(ONE) + b"\0\0\0\0", mac, "net1/c1/eth0")],
        "guarded": [(name(ONE), b"", "net1/c1/eth0")],
    }


def test_make_twice_is_make_once(empty: Netns) -> None:
    """The same state, byte for byte; with another MAC the old one is gone."""
    MacSpoofCheck(Site(ONE), MAC).make()
    MacSpoofCheck(Site(TWO), MAC).make()
    before = elements()
    MacSpoofCheck(Site(ONE), MAC).make()
    assert elements() == before
    MacSpoofCheck(Site(ONE), OTHER).make()
    after = elements()
    assert {key: len(found) for key, found in after.items()} == {"allowed": 2, "attachments": 2, "guarded": 2}
    MacSpoofCheck(Site(ONE), OTHER).compare(raising)
    MacSpoofCheck(Site(TWO), MAC).compare(raising)
    with pytest.raises(CheckFailed):
        MacSpoofCheck(Site(ONE), MAC).compare(raising)


def test_compare_without_make(empty: Netns) -> None:
    """On a node without the table, and on one where only others are guarded; nothing is made."""
    with pytest.raises(CheckFailed, match="rules of the MAC spoof check are missing"):
        MacSpoofCheck(Site(ONE), MAC).compare(raising)
    assert elements() == {}
    MacSpoofCheck(Site(TWO), MAC).make()
    with pytest.raises(CheckFailed, match=f"{ONE.link} with MAC {MAC} is not guarded"):
        MacSpoofCheck(Site(ONE), MAC).compare(raising)


def test_remove_leaves_the_others_and_the_last_takes_the_table(empty: Netns) -> None:
    """In any order, twice, and without knowing the MAC."""
    for order in ((ONE, TWO), (TWO, ONE)):
        for attachment in (ONE, TWO):
            MacSpoofCheck(Site(attachment), MAC).make()
        first, second = order
        for _ in range(2):
            MacSpoofCheck(Site(first)).remove()
            MacSpoofCheck(Site(second), MAC).compare(raising)
        for _ in range(2):
            MacSpoofCheck(Site(second)).remove()
            assert empty.run("nft", "list", "ruleset") == ""


def test_remove_on_a_node_without_any_of_it(empty: Netns) -> None:
    """Success, and nothing is made."""
    MacSpoofCheck(Site(ONE)).remove()
    assert empty.run("nft", "list", "ruleset") == ""


def test_present_and_discard_tell_networks_apart(empty: Netns) -> None:
    """By the name's prefix and by the comment."""
    other = Attachment("net2", "c1", "eth0")
    for attachment in (ONE, TWO, other):
        MacSpoofCheck(Site(attachment), MAC).make()
    effect = MacSpoofCheck(Site(ONE))
    assert set(effect.present("net1")) == {ONE.link, TWO.link}
    assert effect.present("net2") == [other.link]
    assert list(effect.present("net3")) == []
    effect.discard(TWO.link)
    assert effect.present("net1") == [ONE.link]
    assert effect.collect("net1", [ONE]) == []
    assert effect.collect("net1", []) == [ONE.link]
    assert effect.present("net2") == [other.link]


def test_the_first_ones_at_once_make_one_table(empty: Netns) -> None:
    """Eight threads meet where no table is, several times: its rules are there once, every guard too."""
    attachments = [Attachment("net1", f"c{number}", "eth0") for number in range(8)]
    for _ in range(5):
        start = threading.Barrier(len(attachments))

        def make(attachment: Attachment, start: threading.Barrier = start) -> None:
            start.wait()
            MacSpoofCheck(Site(attachment), MAC).make()

        threads = [threading.Thread(target=make, args=(attachment,)) for attachment in attachments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kernel = Nftables()
        rules = len(kernel.rules(BRIDGE, TABLE, "prerouting"))
        kernel.close()
        assert rules == 2
        for attachment in attachments:
            MacSpoofCheck(Site(attachment), MAC).compare(raising)
            MacSpoofCheck(Site(attachment)).remove()
        assert empty.run("nft", "list", "ruleset") == ""


def test_a_name_of_120_bytes_and_more_is_a_comment_still(empty: Netns) -> None:
    """A long container id is cut and ends in a hash: present, compared and removed as any other."""
    long = Attachment("net1", "c" * 200, "eth0")
    longer = Attachment("net1", "c" * 201, "eth0")
    for attachment in (long, longer):
        MacSpoofCheck(Site(attachment), MAC).make()
        MacSpoofCheck(Site(attachment), MAC).compare(raising)
    comments = [comment for _, _, comment in elements()["guarded"]]
    assert len(set(comments)) == 2
    assert all(len(comment) == 120 for comment in comments)
    assert set(MacSpoofCheck(Site(long)).present("net1")) == {long.link, longer.link}
    MacSpoofCheck(Site(long)).remove()
    MacSpoofCheck(Site(longer), MAC).compare(raising)


@pytest.mark.parametrize("lost", ["guarded", "allowed", "attachments"])
def test_remove_after_one_of_the_sets_was_flushed(empty: Netns, lost: str) -> None:
    """What the others have goes too, as far as a record tells it; the next ADD works."""
    MacSpoofCheck(Site(ONE), MAC).make()
    empty.run(
        "nft", f"flush set bridge {TABLE} {lost}" if lost != "attachments" else f"flush map bridge {TABLE} {lost}"
    )
    if lost != "attachments":
        MacSpoofCheck(Site(ONE)).remove()
        assert empty.run("nft", "list", "ruleset") == ""
    MacSpoofCheck(Site(ONE)).remove()
    MacSpoofCheck(Site(TWO), OTHER).make()
    MacSpoofCheck(Site(TWO), OTHER).compare(raising)


def test_a_foreign_table_of_our_name_is_an_error_that_names_it(empty: Netns) -> None:
    """An administrator's table under our name: ADD is refused with the object at fault, and the table stays."""
    empty.run("nft", f"add table bridge {TABLE}; add set bridge {TABLE} guarded {{ type ipv4_addr; }}")
    before = empty.run("nft", "list", "ruleset")
    with pytest.raises(NftablesError, match=TABLE):
        MacSpoofCheck(Site(ONE), MAC).make()
    assert empty.run("nft", "list", "ruleset") == before
    MacSpoofCheck(Site(ONE)).remove()
    assert empty.run("nft", "list", "ruleset") == before


def test_names_of_go_that_are_too_long_are_not_asked_for(empty: Netns) -> None:
    """The kernel has no chain of more than 127 characters, so there is nothing to remove."""
    MacSpoofCheck(Site(Attachment("net1", "c" * 300, "eth0"))).remove()


def test_describe_tells_link_and_mac() -> None:
    """As golden text."""
    assert MacSpoofCheck(Site(ONE), MAC).describe() == f"drop frames from {ONE.link} but those of {MAC}"
    assert MacSpoofCheck(Site(ONE)).identity == ONE.link == MacSpoofCheck(Site(TWO)).identify(ONE)


def test_no_program_is_needed(empty: Netns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither nft nor any other: PATH leads nowhere."""
    monkeypatch.setenv("PATH", str(tmp_path))
    MacSpoofCheck(Site(ONE), MAC).make()
    MacSpoofCheck(Site(ONE), MAC).compare(raising)
    MacSpoofCheck(Site(ONE)).remove()
    assert elements() == {}
