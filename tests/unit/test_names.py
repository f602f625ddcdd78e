"""Names that are derived: of links, aliases and comments, with separators in what is hashed, lengths in bytes."""

import hashlib
import sys

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cni.attachment import ALIAS_MAX, COMMENT_MAX, Attachment, is_alias, network_prefix, shortened
from cni.names import interface_fault, raw_sha512, sha512

NAME = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]{0,80}", fullmatch=True)
IFNAME = st.from_regex(r"[a-z0-9.é\-]{1,7}", fullmatch=True)
ATTACHMENT = st.builds(Attachment, NAME, NAME, IFNAME)


@given(st.binary())
def test_the_hash_is_sha_512(data: bytes) -> None:
    assert raw_sha512(data) == hashlib.sha512(data).digest()


def test_without_the_c_modules_the_hash_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = raw_sha512(b"x")
    for module in ("_sha512", "_sha2"):
        monkeypatch.setitem(sys.modules, module, None)
    assert raw_sha512(b"x") == expected


@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=4),
    st.lists(st.text(st.characters(codec="utf-8"), max_size=3), max_size=4),
)
@example(["a", "bc"], ["ab", "c"])
@example(["a", ""], ["a"])
def test_parts_are_hashed_with_separators(one: list[str], other: list[str]) -> None:
    """Go's chain of ``a`` and ``bc`` is that of ``ab`` and ``c``."""
    assume(all("\0" not in part for part in one + other))
    assert (sha512(*one) == sha512(*other)) == (one == other)


@given(ATTACHMENT)
def test_a_links_name_is_one_that_the_kernel_takes(attachment: Attachment) -> None:
    """Fifteen characters, ``veth`` first, the network's three letters behind it."""
    link = attachment.link
    assert len(link) == 15 and interface_fault(link) == ""
    assert link.startswith(network_prefix(attachment.network)) and link.startswith("veth")
    assert len(network_prefix(attachment.network)) == 7
    assert set(link[4:]) <= set("abcdefghijklmnopqrstuvwxyz234567")


def test_a_links_name_stays_what_it_is() -> None:
    """Over builds and machines: DEL has to find what an older build made. Computed here by hand."""

    def letters(data: bytes, count: int) -> str:
        bits = f"{int.from_bytes(hashlib.sha512(data).digest()[:8], 'big'):064b}"
        return "".join("abcdefghijklmnopqrstuvwxyz234567"[int(bits[5 * n : 5 * n + 5], 2)] for n in range(count))

    expected = "veth" + letters(b"mynet\0", 3) + letters(b"mynet\0ctr1\0eth0\0", 8)
    assert Attachment("mynet", "ctr1", "eth0").link == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("n", "c1", "eth0"), ("n", "c1", "eth1")),
        (("n", "c1", "eth0"), ("n", "c", "1eth0")),
        (("n", "1c", "eth0"), ("n1", "c", "eth0")),
        (("n", "c1", "eth0"), ("m", "c1", "eth0")),
    ],
)
def test_different_attachments_have_different_links(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Two interfaces of one container too, which Go's masquerade takes for one."""
    assert Attachment(*one).link != Attachment(*other).link
    assert Attachment(*one).alias != Attachment(*other).alias
    assert Attachment(*one) != Attachment(*other)


@given(ATTACHMENT)
def test_alias_and_comment_tell_the_attachment(attachment: Attachment) -> None:
    text = f"{attachment.network}/{attachment.container}/{attachment.ifname}"
    assert str(attachment) == text
    for found, limit in ((attachment.alias, ALIAS_MAX), (attachment.comment, COMMENT_MAX)):
        assert len(found.encode()) <= limit
        if len(text.encode()) <= limit:
            assert found == text
        else:
            assert found.startswith(attachment.network) and len(found.encode()) >= limit - 2
    assert attachment == Attachment(*text.split("/")) and len({attachment, Attachment(*text.split("/"))}) == 1
    assert attachment != text


@given(ATTACHMENT, st.integers(0, 250))
def test_an_alias_is_known_for_one(attachment: Attachment, more: int) -> None:
    """However long the names are; other people's texts are not."""
    assert is_alias(attachment.alias)
    assert is_alias(Attachment(attachment.network + "n" * more, attachment.container, attachment.ifname).alias)
    for text in ("", "uplink", "a/b", "a/b/c/d", "x" * 254, "~" + "a" * 16, attachment.network):
        assert not is_alias(text)


@given(st.text(st.characters(codec="utf-8")), st.integers(20, 300))
@example("é" * 60, 120)
@example("é" * 61, 120)
@example("a" * 120, 120)
@example("a" * 121, 120)
@example("a" + "\U0001f600" * 40, 120)
def test_a_text_is_shortened_by_bytes_and_keeps_its_beginning(text: str, limit: int) -> None:
    """Characters are not torn; a longer one ends in a hash of the whole."""
    found = shortened(text, limit)
    assert len(found.encode()) <= limit
    if len(text.encode()) <= limit:
        assert found == text
    else:
        kept, separator, digest = found.rpartition("~")
        assert separator and text.startswith(kept)
        assert digest == hashlib.sha512(text.encode()).hexdigest()[:16]
        assert len(found.encode()) > limit - 4, "as much as fits is kept"


@given(st.text(st.sampled_from("aé/"), max_size=30), st.text(st.sampled_from("aé/"), max_size=30))
def test_texts_that_are_cut_are_told_apart(one: str, other: str) -> None:
    head = "n" * 150
    assert (shortened(head + one, 120) == shortened(head + other, 120)) == (one == other)


def test_bytes_that_are_no_utf_8_have_names_all_the_same() -> None:
    """They come as surrogates, from the environment."""
    attachment = Attachment("net1", "c1", "e\udcff")
    assert interface_fault(attachment.link) == ""
    attachment.alias.encode()
    assert attachment.link != Attachment("net1", "c1", "e\udcfe").link


@given(st.lists(NAME, min_size=2, max_size=2, unique=True))
def test_another_network_seldom_shares_the_prefix(networks: list[str]) -> None:
    """Once in 32768; where it does the alias tells them apart, so nothing hangs on it."""
    one, other = (Attachment(network, "c1", "eth0") for network in networks)
    assert one.link != other.link
