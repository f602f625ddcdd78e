"""The marks by which our NAT chains follow iptables': bits, words and steps, without a kernel."""

import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cni.kernel.nftables import Chain
from cni.kernel.transaction import INET, IPV4, POSTROUTING, Transaction
from cni.ledger import Change, Table
from cni.undecided import TEXT, Undecided, guard_version, legacy_mark_of, mark_of

BASE = {"POSTROUTING": "postrouting"}
GUARDS = [("postrouting", "decided4 13 0x1000"), ("postrouting", "undecided4 13 0x1000")]
# the chain of a verdict, as the kernel has it: length, kind, name
JUMP = struct.pack("=HH", 22, 2) + b"CNI-HOSTPORT-MASQ\0"
OURS = TEXT.encode() + b"\0" + bytes.fromhex("0010000000100000")


class Kernel:
    """The rules of iptables' POSTROUTING, as handles and bytes, and those of our chain."""

    def __init__(self, rules: Sequence[bytes], guards: Sequence[tuple[str, str]] = ()) -> None:
        self.there = list(enumerate(rules, 1))
        self.guards = guards

    def generation(self) -> int:
        return 1

    def chain(self, family: int, table: str, name: str) -> Chain:
        return Chain(POSTROUTING, 100)

    def rules(self, family: int, table: str, chain: str = "") -> list[SimpleNamespace]:
        if table == "ours":
            return [
                SimpleNamespace(handle=handle, chain=chain, comment=comment)
                for handle, (chain, comment) in enumerate(self.guards, 7)
            ]
        found = self.there if family == IPV4 else []
        return [SimpleNamespace(handle=handle, answer=SimpleNamespace(data=data)) for handle, data in found]


def steps(rules: Sequence[bytes], guards: Sequence[tuple[str, str]], **more: Any) -> list[str]:
    """What ADD does."""
    change = Change(Kernel(rules, guards), Table(INET, "ours", {}, [], []))  # type: ignore[arg-type]
    Undecided(change, BASE, **{"legacy": {}, **more}).write(change)
    return change.transaction.describe().splitlines()


GUARDS_GO = [f"delete rule inet ours postrouting handle {n}" for n in (7, 8)]
MARK = f'add rule ip nat POSTROUTING -m comment --comment "{TEXT}" -j MARK --set-xmark 0x1000/0x1000'
UNDECIDED = (
    "insert rule inet ours postrouting meta nfproto ipv4"
    ' meta mark set meta mark & 0xffffefff comment "undecided4 13 0x1000"'
)
DECIDED = (
    "insert rule inet ours postrouting meta nfproto ipv4 meta mark & 0x1000 != 0x1000"
    ' meta mark set meta mark & 0xffffefff return comment "decided4 13 0x1000"'
)


@pytest.mark.parametrize(
    ("rules", "guards", "wanted"),
    [
        ([], [], []),
        ([b"theirs"], [], [MARK, UNDECIDED, DECIDED]),
        ([b"theirs", OURS], GUARDS, []),
        ([OURS, b"theirs"], GUARDS, ["delete rule ip nat POSTROUTING handle 1", MARK]),
        ([b"theirs", OURS, OURS], GUARDS, [f"delete rule ip nat POSTROUTING handle {n}" for n in (2, 3)] + [MARK]),
        ([OURS], GUARDS, ["delete rule ip nat POSTROUTING handle 1", *GUARDS_GO]),
        ([], GUARDS, GUARDS_GO),
        ([JUMP], [], []),
        ([b"theirs", OURS, JUMP], GUARDS, []),
        ([b"accept, for CNI-less hosts"], [], [MARK, UNDECIDED, DECIDED]),
    ],
    ids=[
        "no rules", "rules come", "as it should be", "not the last", "twice", "ours alone", "flushed",
        "a plugin's jump", "a plugin's jump behind it", "a comment that names CNI",
    ],
)  # fmt: skip
def test_what_add_changes(rules: list[bytes], guards: list[tuple[str, str]], wanted: list[str]) -> None:
    """One rule at the end of a chain that has others, and our chain as that wants it."""
    assert steps(rules, guards) == wanted


def test_del_keeps_what_it_does_not_look_at() -> None:
    """The bit of iptables-legacy, whose programs DEL does not run."""
    both = [("postrouting", f"{kind}4 13 0x1800") for kind in ("decided", "undecided")]
    assert steps([b"theirs", OURS], both, legacy=None) == []
    assert 'comment "decided4 13 0x800"' in steps([], both, legacy=None)[-1]


def test_the_bits_are_the_two_below() -> None:
    """Also where there is none below."""
    assert [mark_of(13), legacy_mark_of(13)] == [0x1000, 0x800]
    assert [mark_of(0), legacy_mark_of(0), legacy_mark_of(1)] == [1 << 31, 1 << 30, 1 << 31]


@pytest.mark.parametrize("comment", ["", "pods_10.1.0.0/24", "hostports4", "decided4", "decided5 13 0x1", "localhost6"])
def test_other_rules_of_our_chains_are_told_apart(comment: str) -> None:
    """By their comments."""
    assert not guard_version(comment)
    assert guard_version("decided4 13 0x1000")


def test_a_transaction_reaches_into_another_table() -> None:
    """One list of steps, in order, each with its table's family."""
    transaction = Transaction(INET, "ours")
    assert not transaction.of(IPV4, "nat")
    transaction.delete_table()
    transaction.of(IPV4, "nat").delete_rule("POSTROUTING", 9)
    assert transaction.describe().splitlines() == ["delete table inet ours", "delete rule ip nat POSTROUTING handle 9"]
    assert [message["nfgen_family"] for _, _, message, _ in transaction.steps()] == [INET, IPV4]
