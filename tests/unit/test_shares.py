"""The files that tell who needs a link's route_localnet: whatever was cut short, what is there is found and removed."""

import os
from pathlib import Path

import pytest

from cni.address import Address
from cni.attachment import Attachment
from cni.kernel.rtnl import Rtnl
from cni.site import Node, Roots, Site
from cni_portmap import guard
from cni_portmap.localnet import Localnet, Shares
from node.namespace import Netns

ONE, TWO = Attachment("net1", "ctr1", "eth0"), Attachment("net2", "ctr2", "eth0")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_a_share_is_known_until_it_is_removed(folder: Path) -> None:
    """What a link was is that of the first share; with the last one nothing is left."""
    here = Shares(7, str(folder))
    here.add(3, ONE.link, ONE.comment, 0, False)
    here.add(3, TWO.link, TWO.comment, 1, True)
    here.add(5, TWO.link, TWO.comment, 1, False)
    assert (here.links(), here.guarded(), here.was(3), here.was(5)) == ([3, 5], [3], 0, 1)
    assert (here.of(ONE.link), here.of(TWO.link)) == ([3], [3, 5])
    assert here.present("net1") == [ONE.link] and here.present("net") == []
    assert here.beside(3, ONE.link) and not here.beside(5, TWO.link)
    here.remove(3, ONE.link)
    assert (here.of(ONE.link), here.was(3), here.guarded()) == ([], 0, [3])
    here.remove(3, TWO.link)
    here.remove(5, TWO.link)
    assert os.listdir(folder / "localnet") == []


def test_another_namespace_knows_nothing_of_it(folder: Path) -> None:
    Shares(7, str(folder)).add(3, ONE.link, ONE.comment, 1, True)
    other = Shares(8, str(folder))
    assert (other.links(), other.of(ONE.link), other.was(3), other.present("net1")) == ([], [], None, [])
    other.add(3, ONE.link, ONE.comment, 0, True)
    other.remove(3, ONE.link)
    assert Shares(7, str(folder)).was(3) == 1
    Shares(7, str(folder)).forget()
    assert os.listdir(folder / "localnet") == []


def test_an_add_that_was_cut_is_found_by_its_share(folder: Path) -> None:
    """Before what the link was is written, or in the midst of that: nothing is put back, and another ADD reads it anew."""
    here = Shares(7, str(folder))
    at = folder / "localnet" / "7" / "3"
    at.mkdir(parents=True)
    (at / ONE.link).touch()
    (at / "was").touch()
    assert (here.of(ONE.link), here.was(3)) == ([3], None)
    here.add(3, TWO.link, TWO.comment, 0, False)
    assert here.was(3) == 0
    for one in (ONE, TWO):
        here.remove(3, one.link)
    assert os.listdir(folder / "localnet") == []


def test_where_nothing_can_be_written_nothing_is_there(folder: Path) -> None:
    (folder / "localnet").touch()
    here = Shares(7, str(folder))
    with pytest.raises(OSError, match="localnet"):
        here.add(3, ONE.link, ONE.comment, 0, False)
    assert (here.links(), here.of(ONE.link), here.present("net1")) == ([], [], [])


@pytest.mark.root
def test_where_nothing_can_be_written_the_link_stays_open_and_guarded(folder: Path, empty: Netns) -> None:
    """ADD says so; DEL has nothing to give back, and leaves the guard."""
    (folder / "localnet").touch()
    empty.ip("link add one type veth peer name two", "addr add 10.1.2.1/24 dev one", "link set one up")
    said: list[str] = []
    effect = Localnet(Site(ONE, node=Node(Roots(run=str(folder))), say=said.append), Address.parse("10.1.2.5"))
    effect.make()
    assert ["will stay on" in line for line in said] == [True]
    effect.remove()
    assert empty.sysctl("ipv4/conf/one/route_localnet") == "1"
    assert guard.fault(effect.site.nftables, next(link for link in Rtnl().links() if link.name == "one")) == ""
