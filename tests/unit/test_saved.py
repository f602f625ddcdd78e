"""Saved values in Go's format, and sysctls of a container that are put back."""

import json
import os
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError
from cni.saved import Saved, SavedValues
from cni.site import Site
from cni.sysctls import Sysctls
from node.effects import raising
from node.topology import NamedNetns

WHO = Attachment("net1", "c1", "eth0")
root = pytest.mark.root


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    return Saved(str(tmp_path / "tuning"), WHO)


def test_a_file_as_gos_tuning_writes_it(saved: Saved, tmp_path: Path) -> None:
    """By container and interface, one space of indentation, readable by its owner alone."""
    saved.keep({"mac": "02:00:00:00:00:01", "mtu": 1500, "promisc": False})
    file = tmp_path / "tuning/c1_eth0.json"
    values = {"mac": "02:00:00:00:00:01", "mtu": 1500, "promisc": False}
    assert json.loads(file.read_text()) == {**values, "attachment": "net1/c1/eth0"}
    assert '\n "mtu": 1500' in file.read_text() and file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tuning").stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path / "tuning") == ["c1_eth0.json"]


def test_a_second_add_keeps_the_original_values(saved: Saved) -> None:
    """What it changes too is added; what it would save again are the values of the first."""
    saved.keep({"mtu": 1500})
    saved.keep({"mtu": 1400, "promisc": True})
    assert saved.values() == {"mtu": 1500, "promisc": True}
    saved.keep({"sysctl": {"a": "1"}})
    saved.keep({"sysctl": {"a": "2", "b": "3"}})
    assert saved.values()["sysctl"] == {"a": "1", "b": "3"}


def test_a_file_of_another_network_is_neither_used_nor_removed(saved: Saved, tmp_path: Path) -> None:
    """The same container and interface, one after the other: a late DEL of the first network."""
    other = Saved(str(tmp_path / "tuning"), Attachment("net2", "c1", "eth0"))
    saved.keep({"mtu": 1500})
    assert other.values() == {}
    other.forget()
    assert saved.values() == {"mtu": 1500}
    other.keep({"mtu": 1300})
    assert other.values() == {"mtu": 1300} and other.owner == other.owner != WHO


def test_values_of_another_namespace_are_no_ones(saved: Saved) -> None:
    """A container id that is used again; a file of Go's, which names no namespace, counts."""
    saved.keep({"mtu": 1500}, "7")
    assert saved.values("7") == {"mtu": 1500} and saved.values("8") == {}
    saved.keep({"mtu": 9000}, "8")
    assert saved.values("8") == {"mtu": 9000}
    Path(saved.path).write_text('{"mtu": 1300}')
    assert saved.values("8") == {"mtu": 1300}


def test_without_a_file_there_is_nothing_to_restore_or_to_forget(saved: Saved) -> None:
    assert saved.values() == {}
    saved.forget()
    saved.keep({"mtu": 1})
    saved.forget()
    assert saved.values() == {}


def test_files_are_found_by_network_and_gos_by_their_path(saved: Saved, tmp_path: Path) -> None:
    """What cannot be read has no owner either: only a walk over the whole node lists both."""
    folder = tmp_path / "tuning"
    kind = SavedValues(Site(WHO), str(folder))
    saved.keep({"mtu": 1500})
    (folder / "c2_eth0.json").write_text('{"mtu": 1300}')
    (folder / "c3_eth0.json").write_text("{")
    assert kind.present("net1") == ["net1/c1/eth0"] and kind.present("net") == []
    assert kind.present("") == ["net1/c1/eth0", f"{folder}/c2_eth0.json", f"{folder}/c3_eth0.json"]
    assert [each.owner for each in kind.present("")] == ["net1/c1/eth0", "/c2/eth0", "/c3/eth0"]
    assert kind.collect("net1", []) == ["net1/c1/eth0"] and sorted(os.listdir(folder)) == [
        "c2_eth0.json",
        "c3_eth0.json",
    ]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(saved: Saved, content: bytes) -> None:
    saved.keep({})
    Path(saved.path).write_bytes(content)
    with pytest.raises(CNIError, match="c1_eth0.json"):
        saved.values()


def test_where_nothing_can_be_saved_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CNIError, match="cannot save") as caught:
        Saved(str(tmp_path / "file"), WHO).keep({"mtu": 1})
    assert "nothing was changed" in caught.value.details


@root
def test_sysctls_are_written_compared_and_put_back(saved: Saved) -> None:
    container = NamedNetns("sysctls")
    try:
        container.ip("link add eth0 type veth peer name other")
        site = Site(WHO, container.path)
        old = container.sysctl("ipv4/conf/eth0/arp_ignore")
        wanted = {"net/ipv4/conf/eth0/arp_ignore": "2", "net/ipv4/ping_group_range": "0 100"}
        effect = Sysctls(site, wanted, saved)
        with pytest.raises(CheckFailed, match=r"arp_ignore is 2, current value is 0"):
            effect.compare(raising)
        effect.make()
        effect.compare(raising)
        Sysctls(site, {"net/ipv4/conf/eth0/arp_ignore": "1"}, saved).make()
        assert container.sysctl("ipv4/conf/eth0/arp_ignore") == "1"
        failed = Sysctls(site, {"net/ipv4/conf/eth0/arp_ignore": "2", "net/ipv4/tcp_congestion_control": "none"}, saved)
        with pytest.raises(CNIError, match="tcp_congestion_control"):
            failed.make()
        failed.remove()
        assert container.sysctl("ipv4/conf/eth0/arp_ignore") == "1", "what an ADD before has set"
        for _ in range(2):
            Sysctls(Site(WHO, container.path), {}, saved).remove()
            assert container.sysctl("ipv4/conf/eth0/arp_ignore") == old
        Sysctls(Site(WHO, "/run/netns/gone"), {}, saved).remove()
        assert effect.describe().splitlines()[0] == "sysctl -w net/ipv4/conf/eth0/arp_ignore=2"
    finally:
        container.close()


@root
def test_a_sysctl_that_is_missing_is_an_error_before_any_is_written(saved: Saved) -> None:
    container = NamedNetns("sysctls")
    try:
        container.ip("link add eth0 type veth peer name other")
        effect = Sysctls(Site(WHO, container.path), {"net/ipv4/conf/eth0/arp_ignore": "2", "net/ipv4/none": "1"}, saved)
        with pytest.raises(CNIError, match="net/ipv4/none"):
            effect.make()
        assert container.sysctl("ipv4/conf/eth0/arp_ignore") == "0" and saved.values() == {}
    finally:
        container.close()
