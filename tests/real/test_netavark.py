"""podman 5 with a list as a network, through our driver: containers run, are killed, restarted, connected and forgotten.

Debian 12's podman has no drivers, so ``make test-trixie`` runs these.
"""

import json
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.configuration import conflist
from node.deadline import eventually
from node.namespace import Netns
from node.netavark import CACHE, Netavark, cached, temporary, version, web, with_web
from node.plugin import GO, SUBJECT
from node.podman import Container
from node.ports import answers, source
from node.topology import Node
from node.traffic import reaches

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(version() < (5,), reason="podman 5 is not installed"),
]

NAMES = Path("/run/cni/pycni/podman-names")


@pytest.fixture
def podman(node: Node) -> Iterator[Netavark]:
    """A podman with the network ``web``."""
    with with_web(node) as made:
        yield made


def again(container: Container) -> Container:
    """The container as podman sees it now."""
    return type(container)(container._podman, container.name)


def looked_up(client: Netns, server: str, name: str) -> str:
    """The IPv4 address that the DNS server gives; empty if the name is unknown."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(5)
        asking.sendto(query, (server, 53))
        answer = asking.recv(512)
    return socket.inet_ntoa(answer[-4:]) if struct.unpack(">H", answer[6:8])[0] else ""


# the life of a container


def test_a_container_has_what_podman_promises(podman: Netavark) -> None:
    """Addresses, ports of each kind, the world, what inspect shows; nothing is left after ``podman rm``."""
    node = podman.node
    podman.run("--network", "web").remove()
    before = node.snapshot()
    given = ("--ip", "10.88.0.77", "--ip6", "2001:db8:88::77", "--mac-address", "02:00:00:00:00:77")
    first = podman.run("--network", "web", "-p", "8080:80", "-p", "8053:53/udp", "-p", "127.0.0.1:8081:81", *given)
    other = podman.run("--network", "web", "-p", "9000-9002:90-92")
    assert first.addresses == ["10.88.0.77", "2001:db8:88::77"]
    assert first.netns.link("eth0")["address"] == "02:00:00:00:00:77"
    (shown,) = json.loads(podman("inspect", first.name))
    attached = shown["NetworkSettings"]["Networks"]["web"]
    assert (attached["Gateway"], attached["IPPrefixLen"]) == ("10.88.0.1", 24)
    assert attached["MacAddress"] == "02:00:00:00:00:77"
    assert source("tcp", first.netns, 80, node.outside, node.ADDRESS, 8080) == node.OUTSIDE
    assert source("udp", first.netns, 53, node.outside, node.ADDRESS, 8053) == node.OUTSIDE
    assert answers("tcp", first.netns, 81, node, "127.0.0.1", 8081)
    assert not answers("tcp", first.netns, 81, node.outside, node.ADDRESS, 8081, seconds=0.3)
    for number in range(3):
        assert answers("tcp", other.netns, 90 + number, node, "127.0.0.1", 9000 + number)
    assert reaches(first.netns, node.outside, node.OUTSIDE) and reaches(other.netns, first.netns, first.addresses[0])
    for container in (first, other):
        container.remove()
    assert node.snapshot() == before
    assert cached() == []


def test_containers_end_and_start_in_every_way(podman: Netavark) -> None:
    """stop, start, restart, a process that is killed, ``network reload``: the port answers while it runs, only then."""
    node = podman.node
    container = podman.run("--network", "web", "-p", "8080:80")

    def has_port(of: Container) -> bool:
        return answers("tcp", of.netns, 80, node.outside, node.ADDRESS, 8080)

    assert has_port(container)
    podman("stop", "--time", "0", container.name)
    assert cached() == []
    podman("start", container.name)
    assert has_port(again(container))
    podman("restart", "--time", "0", container.name)
    assert has_port(again(container))
    podman("network", "reload", container.name)
    assert has_port(again(container))
    (shown,) = json.loads(podman("inspect", container.name))
    os.kill(shown["State"]["Pid"], signal.SIGKILL)
    assert eventually(lambda: cached() == [], seconds=20), "podman's cleanup process calls teardown"
    podman("start", container.name)
    assert has_port(again(container))
    container.remove()
    assert cached() == []


def test_networks_come_and_go(podman: Netavark) -> None:
    """Several at once, connected and disconnected; ports are published once, by a network that can."""
    node = podman.node
    podman.add_network(web(node, "second", 89))
    podman.add_network(conflist({"type": "loopback"}, name="bare", version="1.0.0"))
    podman.create("second")
    bare = web(node, "bare", 90)
    bare["plugins"] = bare["plugins"][:1]
    podman.add_network(bare)
    podman.create("bare", "-o", "ports=ignore")
    container = podman.run("--network", "bare", "--network", "second", "--network", "web", "-p", "8080:80")
    assert {"eth0", "eth1", "eth2"} <= set(container.netns.links())
    assert len(cached()) == 3
    records = [json.loads((CACHE / name).read_text()) for name in cached()]
    assert len([found for found in records if found.get("capabilityArgs", {}).get("portMappings")]) == 1
    assert answers("tcp", container.netns, 80, node.outside, node.ADDRESS, 8080)
    podman("network", "disconnect", "bare", container.name)
    podman("network", "connect", "--ip", "10.90.0.9", "bare", container.name)
    assert "10.90.0.9/24" in {found for at in container.netns.all_addresses().values() for found in at}
    container.remove()
    assert cached() == []


def test_pods_share_one_attachment(podman: Netavark) -> None:
    """The infra container is attached; ``podman kube play`` likewise."""
    image = "localhost/pause:1"
    podman("pod", "create", "--name", "p1", "--network", "web", "-p", "8080:80", "--infra-image", image)
    podman("run", "-d", "--pod", "p1", "--name", "p1-one", image)
    assert len(cached()) == 1
    (shown,) = json.loads(podman("inspect", "p1-one"))
    (infra,) = json.loads(podman("pod", "inspect", "p1", "-f", "[{{json .InfraContainerID}}]"))
    (settings,) = json.loads(podman("inspect", infra))
    netns = Netns(settings["NetworkSettings"]["SandboxKey"])
    assert answers("tcp", netns, 80, podman.node.outside, podman.node.ADDRESS, 8080), shown["Name"]
    podman("pod", "rm", "--force", "--time", "0", "p1")
    assert cached() == []
    manifest = podman.folder / "pod.yaml"
    containers = [{"name": "c", "image": image, "ports": [{"containerPort": 80, "hostPort": 8081}]}]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "played"}, "spec": {"containers": containers}}
    manifest.write_text(json.dumps(pod))
    podman("kube", "play", "--network", "web", str(manifest))
    (record,) = [json.loads((CACHE / name).read_text()) for name in cached()]
    assert ["K8S_POD_NAME", "played-infra"] in record["cniArgs"] or ["K8S_POD_NAME", "played"] in record["cniArgs"]
    podman("kube", "down", str(manifest))
    assert cached() == []


# names


def test_containers_find_each_other_by_name(podman: Netavark) -> None:
    """By name and alias, after a restart of the DNS server too; another network does not know them."""
    podman.add_network(web(podman.node, "second", 89))
    podman.create("second", "--disable-dns")
    first = podman.run("--network", "web:alias=alpha")
    second = podman.run("--network", "web")
    silent = podman.run("--network", "second")
    for name in (first.name, "alpha", f"{first.name}.dns.podman"):
        assert looked_up(second.netns, "10.88.0.1", name) == first.addresses[0], name
    assert looked_up(second.netns, "10.88.0.1", f"{silent.name}.dns.podman") == ""
    server = int((NAMES / "aardvark.pid").read_text())
    os.kill(server, signal.SIGKILL)
    assert eventually(
        lambda: not Path(f"/proc/{server}/cmdline").exists() or not Path(f"/proc/{server}/cmdline").read_bytes()
    )
    third = podman.run("--network", "web")
    assert looked_up(second.netns, "10.88.0.1", first.name) == first.addresses[0]
    assert "10.89.0.1" not in (podman.folder / "networks/second.json").read_text().partition("dns_servers")[2]
    server = int((NAMES / "aardvark.pid").read_text())
    for container in (first, second, third, silent):
        container.remove()
    assert eventually(
        lambda: not Path(f"/proc/{server}/cmdline").exists() or not Path(f"/proc/{server}/cmdline").read_bytes()
    )


# what goes wrong


def test_what_cannot_be_honoured_is_refused_with_its_name(podman: Netavark) -> None:
    """By create; podman has no such network then."""
    for options, said in (
        (("--subnet", "10.99.0.0/24"), "--subnet 10.99.0.0/24: list web does not serve it"),
        (("--internal",), "--internal"),
        (("--ipam-driver", "dhcp"), "--ipam-driver dhcp"),
        (("-o", "isolate=1"), "-o isolate=1"),
    ):
        error = podman.refused("network", "create", "-d", "cni", *podman.options("web"), *options, "other")
        assert said in error, error
    assert "nosuch" in podman.refused("network", "create", "-d", "cni", *podman.options("nosuch"), "other")
    podman.add_network(conflist({"type": "no-such-plugin"}, name="odd", version="1.0.0"))
    assert "no-such-plugin" in podman.refused("network", "create", "-d", "cni", *podman.options("odd"), "other")
    assert "other" not in podman("network", "ls")
    shown = json.loads(podman("network", "inspect", "web"))[0]
    assert shown["network_interface"] == "cni-web0"
    assert {found["subnet"] for found in shown["subnets"]} == {"10.88.0.0/24", "2001:db8:88::/64"}
    assert json.loads(podman("info", "-f", "json"))["plugins"]["network"] == ["bridge", "macvlan", "ipvlan", "cni"]


def test_a_failed_setup_leaves_nothing(podman: Netavark) -> None:
    """A plugin that refuses after others have made their part; a wish that nobody meets; the error names the plugin."""
    node = podman.node
    podman.run("--network", "web").remove()
    before = node.snapshot()
    broken = web(node)
    broken["plugins"][-1]["sysctl"] = {"net.ipv4.no_such_key": "1"}
    podman.add_network(broken)
    error = podman.refused("run", "--network", "web", "localhost/pause:1")
    assert "network web: plugin tuning failed (ADD)" in error and "no_such_key" in error, error
    assert node.snapshot() == before and cached() == []
    nobody = web(node)
    nobody["plugins"][0]["ipam"] = {"type": "static", "addresses": [{"address": "10.88.0.5/24"}]}
    podman.add_network(nobody)
    error = podman.refused("run", "--network", "web", "--mac-address", "02:00:00:00:00:77", "-p", "1:1/sctp", "x:1")
    assert error
    podman.add_network(web(node) | {"plugins": web(node)["plugins"][:1]})
    error = podman.refused("run", "--network", "web", "-p", "8080:80", "localhost/pause:1")
    assert "portMappings" in error and "ports=ignore" in error, error
    assert node.snapshot() == before and cached() == []


def test_a_list_that_changes_or_goes(podman: Netavark) -> None:
    """The next setup takes the new list; teardown uses what made the attachment, even if the file is gone."""
    node = podman.node
    first = podman.run("--network", "web", "-p", "8080:80")
    changed = web(node)
    changed["plugins"] = changed["plugins"][:2]
    podman.add_network(changed)
    second = podman.run("--network", "web")
    (podman.folder / "lists/10-web.conflist").unlink()
    assert "no net" in podman.refused("run", "--network", "web", "localhost/pause:1")
    for container in (first, second):
        container.remove()
    assert cached() == [] and not [rule for rule in node.nft() if "8080" in json.dumps(rule)]
    assert node.leases("web") == {}


def test_gc_removes_what_podman_has_forgotten(podman: Netavark) -> None:
    """Its storage is lost while containers run. Living ones keep their network, and nothing goes if podman fails."""
    living = podman.run("--network", "web", "-p", "8080:80")
    lost = podman.run("--network", "web", "-p", "8081:80")
    assert len(cached()) == 2
    record = next(name for name in cached() if lost.id in name)
    podman("rm", "--force", "--time", "0", lost.name)
    gone = podman.run("--network", "web", "-p", "8081:80")
    stand_in = podman.folder / "podman"
    stand_in.write_text("#!/bin/sh\necho broken >&2; exit 1\n")
    stand_in.chmod(0o755)
    done = podman.driver("gc", "--podman", str(stand_in))
    assert done.returncode == 1 and "nothing is removed" in done.stderr and len(cached()) == 2
    networks = podman.folder / "networks.json"
    networks.write_text(podman("network", "inspect", "web"))
    stand_in.write_text(
        f'#!/bin/sh\ncase "$1 $2" in "network ls") echo web;; "network inspect") cat {networks};; *) echo {living.id};; esac\n'
    )
    done = podman.driver("gc", "--podman", str(stand_in))
    assert (done.returncode, done.stdout) == (0, ""), done
    assert [living.id in name for name in cached()] == [True] and record not in cached()
    assert set(podman.node.leases("web")) == set(living.addresses)
    assert answers("tcp", living.netns, 80, podman.node.outside, podman.node.ADDRESS, 8080)
    gone.remove()
    living.remove()
    assert cached() == []


@pytest.mark.skipif(not os.path.exists(f"{GO}/bridge"), reason="Go's plugins are not installed")
def test_plugins_of_others(node: Node) -> None:
    """Go's plugins, and a shell script that changes the result."""
    with temporary() as folder, Netavark(node, Path(folder), GO) as podman:
        script = podman.folder / "own/mark"
        script.parent.mkdir()
        versions = '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'
        script.write_text(
            f"""#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{versions}';;
ADD) echo "$CNI_ARGS" >{podman.folder}/args; sed -E 's/.*"prevResult":(.*),"type":"mark"}}$/\\1/';;
*) cat >/dev/null;;
esac
"""
        )
        script.chmod(0o755)
        podman.binaries = f"{GO}:{script.parent}:{SUBJECT}"
        lists = web(node)
        lists["cniVersion"] = "1.0.0"
        lists["plugins"] = [*lists["plugins"][:2], {"type": "mark"}]
        podman.add_network(lists)
        podman.create("web", "-o", "args.COLOUR=red")
        container = podman.run("--network", "web", "-p", "8080:80")
        assert answers("tcp", container.netns, 80, node.outside, node.ADDRESS, 8080)
        assert "COLOUR=red" in (podman.folder / "args").read_text()
        container.remove()
        assert cached() == []
