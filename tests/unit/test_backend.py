"""Which backend a node gets: the kernel says what it lacks, and nothing is changed by the question."""

import sys
from pathlib import Path
from typing import Any

import pytest

from cni.errors import CNIError
from cni.kernel import backend, program
from cni.kernel import expressions as nft
from cni.kernel.backend import Needs
from cni.kernel.nftables import Nftables
from cni.kernel.transaction import BRIDGE, INET, PREROUTING, Transaction
from node.namespace import Netns

pytestmark = pytest.mark.root
PARTS = (backend.NAT, backend.FIB, backend.CONNECTIONS, backend.MASQUERADE)
NONE = Needs(INET, "none", PARTS)


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """STATUS has not found out anything."""
    monkeypatch.setattr(backend, "_GOOD", str(tmp_path / "nf_tables"))


def _no_type(trial: Transaction) -> None:
    """What a kernel does not know that lacks a type of chains."""
    trial.add_chain("translations", "nothing", PREROUTING)


def _no_expression(trial: Transaction) -> None:
    """What it does not know that lacks a kind of rules."""
    trial.add_rule("some", [nft.is_in("nothing", nft.MARK)])


LACKING: dict[str, tuple[Any, str]] = {
    backend.NAT: (_no_type, "CONFIG_NFT_NAT"),
    backend.FIB: (_no_expression, "CONFIG_NFT_FIB_INET, CONFIG_NFT_FIB_IPV4 and CONFIG_NFT_FIB_IPV6"),
    backend.CONNECTIONS: (_no_expression, "CONFIG_NFT_CT"),
    backend.MASQUERADE: (_no_expression, "CONFIG_NFT_MASQ"),
}


def _lack(monkeypatch: pytest.MonkeyPatch, part: str, refused: Any) -> None:
    real = backend._add
    monkeypatch.setattr(backend, "_add", lambda each, trial: refused(trial) if each == part else real(each, trial))


def _without_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_FOLDERS", ())
    monkeypatch.setenv("PATH", "")


def test_the_question_changes_nothing(empty: Netns) -> None:
    """Everything is there; no table is made, and no generation goes by. The answer is kept."""
    kernel = Nftables()
    before = kernel.generation()
    assert backend.lacking(NONE, kernel) == ""
    assert backend.lacking(Needs(BRIDGE, "none"), kernel) == ""
    assert (kernel.generation(), kernel.tables()) == (before, set())
    assert kernel.lacking == {(INET, PARTS): "", (BRIDGE, ()): ""}


def test_status_keeps_a_good_answer_and_no_bad_one(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel has is asked for once, in any namespace. Without the folder it is asked for each time."""
    asked: list[Needs] = []
    real = backend._tried
    monkeypatch.setattr(backend, "_tried", lambda needs, kernel: asked.append(needs) or real(needs, kernel))
    with monkeypatch.context() as patched:
        _lack(patched, backend.FIB, _no_expression)
        assert "FIB" in backend.lacking(NONE) and "FIB" in backend.lacking(NONE)
    assert len(asked) == 2
    assert backend.lacking(NONE) == backend.lacking(NONE) == ""
    assert len(asked) == 3
    assert backend.lacking(Needs(BRIDGE, "none")) == ""
    assert len(asked) == 4
    monkeypatch.setattr(backend, "_GOOD", "/proc/none")
    assert backend.lacking(NONE) == backend.lacking(NONE) == ""
    assert len(asked) == 6


@pytest.mark.parametrize("part", LACKING)
def test_a_missing_part_is_told_by_its_kernel_option(empty: Netns, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """Nothing said takes iptables; nftables asked for is an error, and so is nothing said without the programs."""
    refused, option = LACKING[part]
    _lack(monkeypatch, part, refused)
    assert backend.lacking(NONE, Nftables()) == backend.lacking(NONE) == option
    assert backend.chosen(None, NONE) == "iptables"
    assert backend.chosen("iptables", NONE) == "iptables"
    with pytest.raises(CNIError, match=f"the kernel lacks {option};") as told:
        backend.chosen("nftables", NONE)
    assert "iptables" in told.value.details
    _without_programs(monkeypatch)
    with pytest.raises(CNIError, match=option) as told:
        backend.chosen(None, NONE)
    assert "install iptables-legacy" in told.value.details
    assert Nftables().tables() == set()


def test_the_iptables_that_needs_nf_tables_is_none_where_that_cannot_translate(
    empty: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without NAT chains only iptables-legacy can; with another part missing both."""
    real = program.find
    monkeypatch.setattr(program, "find", lambda name: "" if "legacy" in name else real(name))
    if "nf_tables" not in program.run("iptables", "--version")[1]:
        pytest.skip("needs an iptables of the newer kind")
    with monkeypatch.context() as without_nat:
        _lack(without_nat, backend.NAT, _no_type)
        with pytest.raises(CNIError, match="CONFIG_NFT_NAT"):
            backend.chosen(None, NONE)
    _lack(monkeypatch, backend.FIB, _no_expression)
    assert backend.chosen(None, NONE) == "iptables"


def test_a_table_that_is_there_is_proof_enough(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel is not asked for its parts then."""
    transaction = Transaction(INET, "ours")
    transaction.add_table()
    kernel = Nftables()
    kernel.commit(transaction)
    monkeypatch.setattr(Nftables, "refused", None)
    assert backend.lacking(Needs(INET, "ours", PARTS), kernel) == ""
    # so STATUS asks, which imports little
    monkeypatch.setitem(sys.modules, "cni.kernel.nftables", None)
    assert backend.lacking(Needs(INET, "ours", PARTS)) == ""
