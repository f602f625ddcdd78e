"""Devices that are moved into a container and back: veth and macvlan stand in for hardware."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cni import plan
from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError, Refused
from cni.kernel.rtnl import Link
from cni.links.moved_link import MovedLink, Settled
from cni.plan import Remains
from cni.result import Interface, Result
from cni.site import Node, Roots, Site
from node.deadline import eventually
from node.effects import raising
from node.topology import NamedNetns

pytestmark = pytest.mark.root
ROOT = Path(__file__).parents[2]
WHO = Attachment("net1", "c1", "eth0")
MAC = "02:00:00:00:00:07"
KINDS = {
    "veth": "link add dev0 type veth peer name far0",
    "macvlan": "link add link far0 name dev0 type macvlan mode bridge",
}


class Place:
    """A node with a device dev0, a pod, and what a call says."""

    def __init__(self, node: NamedNetns, pod: NamedNetns, run: Path) -> None:
        self.node = node
        self.pod = pod
        self.run = run
        self.lines: list[str] = []

    def site(self, who: Attachment = WHO, netns: str | None = None, previous: Result | None = None) -> Site:
        node = Node(Roots(run=str(self.run)))
        path = self.pod.path if netns is None else netns
        return Site(who, path, node, self.lines.append, lambda: previous)

    def moved(self, *rest: Any, device: str = "dev0", **keys: Any) -> MovedLink:
        site = self.site(*rest, **keys)
        return MovedLink(site, lambda: self.device(site, device))

    @staticmethod
    def device(site: Site, name: str) -> Link:
        link = site.rtnl.link(name)
        if link is None:
            raise Refused("failed to find host device: Link not found")
        return link

    def add(self, **keys: Any) -> Link:
        """A whole ADD."""
        effect = self.moved(**keys)
        link = effect.make()
        Settled(effect).make()
        return link

    def files(self) -> list[str]:
        return sorted(os.listdir(self.run / "moved")) if (self.run / "moved").exists() else []

    def looks(self) -> dict[str, Any]:
        """All that ``ip`` shows of the device on the node but what the kernel counts or draws."""
        link = dict(self.node.links()["dev0"])
        for own in ("ifindex", "link_index", "stats", "stats64", "operstate", "flags", "qdisc", "link_netnsid"):
            link.pop(own, None)
        return {**link, "up": "UP" in self.node.link("dev0")["flags"], "altnames": sorted(link.get("altnames", []))}


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    node, pod = NamedNetns("node"), NamedNetns("pod")
    try:
        if request.param == "macvlan":
            node.ip("link add far0 type veth peer name far1", "link set far0 up")
        node.ip(
            KINDS[request.param],
            f"link set dev0 mtu 1400 alias uplink-of-rack-3 up address {MAC}",
            "link property add dev dev0 altname enp9s0 altname nic-of-the-node",
        )
        with node.inside():
            yield Place(node, pod, tmp_path)
    finally:
        pod.close()
        node.close()


@pytest.fixture
def veth(tmp_path: Path) -> Iterator[Place]:
    node, pod = NamedNetns("node"), NamedNetns("pod")
    try:
        node.ip(KINDS["veth"], f"link set dev0 mtu 1400 up address {MAC}")
        with node.inside():
            yield Place(node, pod, tmp_path)
    finally:
        pod.close()
        node.close()


def test_there_and_back(place: Place) -> None:
    """In the container it is as Go's host-device makes it; back on the node it is as it was."""
    before = place.looks()
    link = place.add()
    inside = place.pod.link("eth0")
    assert (link.name, link.alias, link.up, link.mac, link.mtu) == ("eth0", "dev0", True, MAC, 1400)
    assert (inside["ifalias"], inside["address"], inside["mtu"]) == ("dev0", MAC, 1400) and "UP" in inside["flags"]
    assert "dev0" not in place.node.links() and place.files() == ["c1_eth0.json"]
    assert place.moved().compare(raising).index == link.index
    for _ in range(2):
        place.moved().remove()
        assert place.looks() == before and set(place.pod.links()) == {"lo"} and place.files() == []
    assert (
        before["ifalias"] == "uplink-of-rack-3" and before["altnames"] == ["enp9s0", "nic-of-the-node"] and before["up"]
    )


def test_all_that_the_pod_changed_is_restored(place: Place) -> None:
    before = place.looks()
    place.add()
    place.pod.ip(
        "link set eth0 down",
        "link set eth0 mtu 1300 address 02:00:00:00:00:99 name data0 alias mine",
        "link set data0 promisc on allmulticast on txqueuelen 77",
        "link property del dev data0 altname enp9s0",
        "link set data0 up",
    )
    with pytest.raises(CheckFailed, match=r'failed to lookup "eth0": Link not found; the device is data0 there'):
        place.moved().compare(raising)
    place.pod.ip("link add eth0 type veth peer name other")
    with pytest.raises(CheckFailed, match="eth0 is not the device dev0 of the node"):
        place.moved().compare(raising)
    place.moved().remove()
    assert place.looks() == before and set(place.pod.links()) == {"lo", "eth0", "other"} and place.lines == []
    assert not {"PROMISC", "ALLMULTI"} & set(place.node.link("dev0")["flags"]) and before["txqlen"] == 1000


def test_a_device_that_was_down_and_a_port_comes_back_so(veth: Place) -> None:
    veth.node.ip("link add br0 type bridge", "link set dev0 down", "link set dev0 master br0")
    before = veth.looks()
    veth.add()
    veth.moved().remove()
    assert veth.looks() == before and not before["up"] and before["master"] == "br0"


def test_names_that_are_taken_on_the_other_side(place: Place) -> None:
    """The node has an eth0, the pod a dev0: neither is in the way."""
    place.node.ip("link add eth0 type veth peer name eth1")
    place.pod.ip("link add dev0 type veth peer name dev1")
    before = place.looks()
    link = place.add()
    assert place.pod.link("eth0")["ifalias"] == "dev0"
    place.moved().remove()
    assert place.looks() == before and {"eth0", "eth1"} <= set(place.node.links())
    assert set(place.pod.links()) == {"lo", "dev0", "dev1"} and link.name == "eth0"


def test_a_name_that_is_taken_in_the_pod_refuses(place: Place) -> None:
    """Nothing is changed, and a DEL afterwards leaves the other's link alone."""
    place.pod.ip("link add eth0 type veth peer name other")
    before = place.looks()
    with pytest.raises(Refused, match='failed to move link "dev0": a link eth0 is in'):
        place.moved().make()
    assert place.looks() == before and place.files() == []
    place.moved().remove()
    assert set(place.pod.links()) == {"lo", "eth0", "other"} and "left alone" in place.lines[0]


def test_a_name_that_is_taken_while_it_moves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved, and refused its name there: undo finds it."""
    before = place.looks()
    place.pod.ip("link add eth0 type veth peer name other")
    effect = place.moved()
    inside = effect.site.container.rtnl
    monkeypatch.setattr(inside, "link", lambda *words, **keys: None)
    with pytest.raises(CNIError, match='failed to move link "dev0" to .*: file exists') as failed:
        effect.make()
    monkeypatch.undo()
    assert not isinstance(failed.value, Refused)
    effect.remove()
    assert place.looks() == before and place.files() == [] and set(place.pod.links()) == {"lo", "eth0", "other"}


def test_a_name_that_is_taken_on_the_node_keeps_it_in_the_pod(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """DEL fails, the device works on, and a later DEL moves it; also if somebody takes the name at the last moment."""
    before = place.looks()
    place.add()
    place.node.ip("link add dev0 type veth peer name dev1")
    effect = place.moved()
    look, seen = effect.site.rtnl.link, iter([True])

    def blind_once(*words: Any, **keys: Any) -> Link | None:
        return None if next(seen, False) else look(*words, **keys)

    for last_moment in (False, True):
        if last_moment:
            monkeypatch.setattr(effect.site.rtnl, "link", blind_once)
        with pytest.raises(CNIError, match='failed to move "eth0" back to the node as "dev0": file exists'):
            effect.remove()
        assert "UP" in place.pod.link("eth0")["flags"] and place.pod.link("eth0")["ifalias"] == "dev0"
        assert "eth0" not in place.node.links() and place.files() == ["c1_eth0.json"]
    monkeypatch.undo()
    place.node.ip("link del dev0")
    effect.remove()
    assert place.looks() == before and place.files() == []


def test_attached_already(place: Place) -> None:
    place.add()
    with pytest.raises(Refused, match="net1/c1/eth0 is attached; send DEL first"):
        place.moved().make()
    assert place.pod.link("eth0")["ifalias"] == "dev0"


def test_no_device(place: Place) -> None:
    with pytest.raises(Refused, match="failed to find host device: Link not found"):
        place.moved(device="none").make()
    assert place.files() == []
    place.moved().remove()
    assert place.lines == []


# other versions


def gos_add(place: Place) -> None:
    """As Go's plugin does it, whose temporary namespace is not seen afterwards."""
    place.node.ip(f"link set dev0 alias dev0 netns {place.pod.name} name eth0")
    place.pod.ip("link set eth0 up")


def test_what_go_moved_is_moved_back(place: Place) -> None:
    """Its alias is its name; nothing else is known of it, so it is left down, as Go's plugin leaves it."""
    gos_add(place)
    assert place.moved().compare(raising).alias == "dev0"
    for _ in range(2):
        place.moved().remove()
        assert (place.looks().get("ifalias"), place.looks()["up"]) == (None, False)
    assert set(place.pod.links()) == {"lo"}


def test_what_go_moved_and_the_pod_renamed_is_found_by_prevresult(place: Place) -> None:
    gos_add(place)
    place.pod.ip("link set eth0 down", "link set eth0 name data0", "link add eth0 type veth peer name other")
    place.moved().remove()
    assert set(place.pod.links()) == {"lo", "data0", "eth0", "other"}
    previous = Result([Interface("eth0", MAC.upper(), place.pod.path)])
    place.moved(previous=previous).remove()
    assert place.looks()["address"] == MAC and set(place.pod.links()) == {"lo", "eth0", "other"}


def test_go_moves_back_what_we_moved(place: Place) -> None:
    """It needs the alias alone; our DEL afterwards restores the rest."""
    before = place.looks()
    place.add()
    place.pod.ip("link set eth0 down", "link set eth0 mtu 1300")
    with place.pod.inside():
        subprocess.run(["ip", "link", "set", "eth0", "netns", place.node.name, "name", "dev0", "alias", ""], check=True)
    place.moved().remove()
    assert place.looks() == before and place.files() == []


# namespaces that are gone, GC


def test_a_virtual_device_is_gone_with_its_namespace(place: Place) -> None:
    place.add()
    place.pod.close()
    place.moved().remove()
    assert place.files() == [] and place.lines == ["device dev0 was not found on the node: it is gone"]


def kernel_puts_it_back(place: Place, name: str) -> None:
    """As with hardware whose namespace ended: under the name it had there, or a drawn one, and down."""
    place.pod.ip(f"link set eth0 netns {place.node.name} name {name}")


@pytest.mark.parametrize("name", ["eth0", "dev7"])
@pytest.mark.parametrize("netns", ["", "/var/run/netns/no-such-pod"])
def test_what_the_kernel_put_back_is_restored(place: Place, name: str, netns: str) -> None:
    before = place.looks()
    place.add()
    kernel_puts_it_back(place, name)
    place.node.ip(f"link set {name} up")
    for _ in range(2):
        place.moved(netns=netns).remove()
        assert place.looks() == before and place.files() == [] and name not in place.node.links()


def test_a_name_that_was_taken_meanwhile_is_waited_for(place: Place) -> None:
    before = place.looks()
    place.add()
    kernel_puts_it_back(place, "dev7")
    place.node.ip("link add dev0 type veth peer name dev1")
    with pytest.raises(CNIError, match='failed to rename "dev7" of the node to "dev0"'):
        place.moved(netns="").remove()
    place.node.ip("link del dev0")
    place.moved(netns="").remove()
    assert place.looks() == before


def test_without_a_namespace_the_noted_one_is_used(place: Place) -> None:
    before = place.looks()
    place.add()
    place.moved(netns="").remove()
    assert place.looks() == before and place.files() == []


def test_another_link_of_the_name_is_not_restored(veth: Place) -> None:
    """The device went with its namespace, and somebody made one of its name."""
    veth.add()
    veth.pod.close()
    assert eventually(lambda: "far0" not in veth.node.links())
    veth.node.ip(
        "link add pad type veth peer name pad1", "link add dev0 type veth peer name far0", "link set dev0 mtu 1200"
    )
    veth.moved().remove()
    assert veth.looks()["mtu"] == 1200 and veth.files() == []


def test_a_note_that_cannot_be_read(place: Place) -> None:
    """A second ADD is refused and changes nothing. DEL moves the device back by its alias, and says what is missing."""
    place.add()
    note = place.run / "moved/c1_eth0.json"
    note.write_text("{")
    with pytest.raises(Refused, match="cannot read the saved values in"):
        place.moved().make()
    assert place.pod.link("eth0")["ifalias"] == "dev0"
    place.moved().remove()
    assert (place.looks().get("ifalias"), place.looks()["up"], place.files()) == (None, False, [])
    assert "nothing is restored from it" in place.lines[0]


def test_gc_moves_back_what_no_attachment_owns(place: Place) -> None:
    before = place.looks()
    place.add()
    kind = MovedLink(place.site(Attachment("net1", "", ""), ""))
    bad = place.run / "moved/c9_eth0.json"
    bad.write_text("{")
    assert [(str(found), found.owner, found.facts) for found in kind.present("")] == [
        (str(WHO), str(WHO), {"device": "dev0"})
    ]
    assert [line for line in place.lines if str(bad) in line]
    bad.unlink()
    assert list(kind.present("net2")) == [] and kind.collect("net1", [WHO]) == []
    assert kind.collect("net1", [Attachment("net1", "c2", "eth0")]) == [str(WHO)]
    assert place.looks() == before and place.files() == [] and list(kind.present("net1")) == []


# death

DRIVER = """
import os, sys
sys.path[:0] = [sys.argv[1]]
from cni.attachment import Attachment
from cni.links.moved_link import MovedLink, Settled
from cni.site import Node, Roots, Site
site = Site(Attachment("net1", "c1", "eth0"), sys.argv[2], Node(Roots(run=sys.argv[3])))
moved = MovedLink(site, lambda: site.rtnl.link("dev0"))
if sys.argv[4] == "ADD":
    moved.make()
    Settled(moved).make()
else:
    moved.remove()
"""


def killed(place: Place, verb: str, number: int) -> bool:
    """Whether a call was killed at its call of this number that sends to the kernel, writes or renames."""
    kill = f"inject=sendto,write,rename,unlink:signal=SIGKILL:when={number}"
    python = [sys.executable, "-c", DRIVER, str(ROOT / "common"), place.pod.path, str(place.run), verb]
    done = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", kill, *python], capture_output=True, text=True)
    assert done.returncode in (0, -9, 137), done.stderr
    return done.returncode != 0


def each_death(place: Place, verb: str, after: Callable[[], None]) -> int:
    number = 1
    while killed(place, verb, number):
        after()
        number += 1
        assert number < 60
    return number


def test_an_add_that_is_killed_leaves_nothing_that_del_does_not_return(place: Place) -> None:
    before = place.looks()

    def after() -> None:
        place.moved().remove()
        assert place.looks() == before and set(place.pod.links()) == {"lo"}
        assert place.files() == []

    assert each_death(place, "ADD", after) > 6
    assert place.pod.link("eth0")["ifalias"] == "dev0"


def test_an_add_that_is_killed_does_not_keep_the_next_one_from_it(place: Place) -> None:
    before = place.looks()

    def wanted() -> Generator[Any, Any, None]:
        effect = place.moved()
        yield from effect
        yield from Settled(effect)

    def after() -> None:
        plan.make(wanted, lambda: [place.moved()])
        assert place.pod.link("eth0")["ifalias"] == "dev0"
        noted = json.loads((place.run / "moved/c1_eth0.json").read_text())
        assert noted["finished"] and noted["mtu"] == 1400 and noted["up"]
        place.moved().remove()
        assert place.looks() == before

    each_death(place, "ADD", after)
    place.moved().remove()


def test_a_del_that_is_killed_is_finished_by_the_next(place: Place) -> None:
    before = place.looks()

    def after() -> None:
        place.moved().remove()
        assert place.looks() == before and set(place.pod.links()) == {"lo"}
        place.add()
        place.pod.ip("link set eth0 down", "link set eth0 mtu 1300")

    place.add()
    assert each_death(place, "DEL", after) > 4
    assert place.looks() == before


def test_an_unfinished_one_is_a_leftover(place: Place) -> None:
    place.moved().make()
    with pytest.raises(Remains, match="is a leftover of an ADD of net1/c1/eth0 that died"):
        place.moved().make()
