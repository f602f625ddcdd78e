"""bandwidth between namespaces: what passes in which time, what waits, what CHECK sees, and what stays after whatever died.

A limit is an upper bound of speed. So a transfer has a shortest time, on a busy machine too; there is no longest one.
"""

import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from node.chain import Chain
from node.configuration import bridge, conflist, host_local
from node.deadline import eventually
from node.dying import die_in_the_kernel
from node.namespace import Netns, Object
from node.plugin import DIST, GO, subject_is_old_go
from node.topology import Node, Pod

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(subject_is_old_go(), reason="these are about what it lacks"),
]

# 2 MB a second; 25 ms of it at once.
RATE, BURST = 16_000_000, 400_000
BOTH = {"ingressRate": RATE, "ingressBurst": BURST, "egressRate": RATE, "egressBurst": BURST}
NOT_KNOWN = (1 << 32) - 1
SIZE = 500_000
_ports = itertools.count(20000)


def limited(node: Node, *, pod: Pod | None = None, name: str = "net1", ifname: str = "eth0", **keys: Any) -> Chain:
    """A pod of a bridge and bandwidth, not yet attached; ``capability`` are the runtime's values."""
    capability, version = keys.pop("capability", None), keys.pop("version", "1.0.0")
    lower = bridge(host_local(node.data_dir, "10.1.0.0/24", "fd00:1::/64"), version=None, isDefaultGateway=True)
    entry = {"type": "bandwidth", "capabilities": {"bandwidth": True}, **keys}
    network = conflist({key: value for key, value in lower.items() if key != "name"}, entry, name=name, version=version)
    return Chain(node, network, pod, ifname=ifname, **({"bandwidth": capability} if capability else {}))


def call(chain: Chain, verb: str, **more: Any) -> Any:
    """One verb of bandwidth, with the result of ADD; ADD itself gets it without the ifb."""
    result = chain.result
    if verb == "ADD":
        result = {**result, "interfaces": [each for each in result["interfaces"] if "bwp" not in each["name"]]}
    return chain.call(1, verb, **{"prevResult": result, **more})


def shown(node: Node, what: str, device: str, *words: str) -> list[Object]:
    found: list[Object] = json.loads(node.run("tc", "-j", "-s", what, "show", "dev", device, *words) or "[]")
    return found


def root(node: Node, device: str) -> Object:
    """The first queue of a link, with what was counted."""
    return next((each for each in shown(node, "qdisc", device) if each.get("root")), {})


def ifbs(node: Node) -> set[str]:
    return {name for name, link in node.links().items() if link.get("linkinfo", {}).get("info_kind") == "ifb"}


def ifb(chain: Chain) -> str:
    return str(chain.result["interfaces"][-1]["name"])


def seconds(receiver: Netns, sender: Netns, address: str, size: int = SIZE) -> float:
    """How long so many bytes take by TCP, from before the connection to the last byte."""
    family, port = socket.AF_INET6 if ":" in address else socket.AF_INET, next(_ports)
    listening, sending = receiver.socket(family), sender.socket(family)
    with listening, sending:
        for each in (listening, sending):
            each.settimeout(60)
        listening.bind((address, port))
        listening.listen()
        began = time.monotonic()
        sending.connect((address, port))
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(60)
            thread = threading.Thread(target=sending.sendall, args=(bytes(size),))
            thread.start()
            left = size
            while left:
                left -= len(connection.recv(1 << 16))
            took = time.monotonic() - began
            thread.join()
    return took


def shortest(size: int = SIZE, rate: int = RATE, burst: int = BURST) -> float:
    """The time below which so many bytes cannot pass."""
    return (size * 8 - burst) / rate


def ways(chain: Chain) -> Iterator[tuple[Netns, Netns, str]]:
    """Receiver, sender and the receiver's address: to and from the pod, in both families."""
    node = chain.node
    for address, gateway in zip(chain.addresses, ("10.1.0.1", "fd00:1::1"), strict=True):
        yield chain.pod, node, address
        yield node, chain.pod, gateway


# rates


def test_both_ways_are_what_tc_shows(node: Node) -> None:
    """Queues, the ifb under Go's name, its place in the result, and one action that redirects everything to it."""
    chain = limited(node, **BOTH).add()
    *before, added = chain.result["interfaces"]
    assert [each["name"] for each in before] == ["br0", chain.host, "eth0"]
    link = node.link(added["name"])
    assert added == {"name": ifb(chain), "mac": link["address"]} and re.fullmatch("bwp[0-9a-f]{12}", added["name"])
    assert link["ifalias"] == f"net1/{chain.pod.container}/eth0" and "UP" in link["flags"] and link["mtu"] == 1500
    for device in (chain.host, added["name"]):
        queue = root(node, device)
        assert (queue["kind"], queue["handle"], queue["options"]["rate"]) == ("tbf", "1:", RATE // 8)
        assert abs(queue["options"]["burst"] - BURST // 8) <= 2
    (filter,) = (each for each in shown(node, "filter", chain.host, "ingress") if "actions" in each.get("options", {}))
    assert (filter["kind"], filter["protocol"], filter["pref"]) == ("u32", "all", 1)
    assert [each["to_dev"] for each in filter["options"]["actions"]] == [added["name"]]
    chain.remove()
    assert not ifbs(node)


def test_a_transfer_takes_its_time(node: Node) -> None:
    """Both ways, both families; and with a limit of one way, that one alone has a queue."""
    chain = limited(node, **BOTH).add()
    for receiver, sender, address in ways(chain):
        assert seconds(receiver, sender, address) >= shortest(), address
    one = limited(node, egressRate=RATE, egressBurst=BURST).add()
    for receiver, sender, address in ways(one):
        assert receiver is one.pod or seconds(receiver, sender, address) >= shortest()
    assert root(node, one.host)["kind"] == "noqueue"


def test_a_burst_that_the_runtime_does_not_know(node: Node) -> None:
    """containerd's values: the limit holds from the first packet. As Go takes them, nothing waits; and Go's are accepted."""
    values = {"ingressRate": RATE, "ingressBurst": NOT_KNOWN, "egressRate": RATE, "egressBurst": NOT_KNOWN}
    ours = limited(node, capability=values).add()
    for receiver, sender, address in ways(ours):
        assert seconds(receiver, sender, address) >= shortest()
    gos = limited(node, capability=values, burstTime=0, latency=0).add()
    for receiver, sender, address in ways(gos):
        seconds(receiver, sender, address)
    for device in (gos.host, ifb(gos)):
        assert root(node, device)["overlimits"] == 0 and root(node, device)["bytes"] > 2 * SIZE
    assert all(outcome.ok for outcome in (*ours.check(), *gos.check()))
    if Path(GO, "bandwidth").is_file():
        made = limited(node, capability=values).add(binaries={"bridge": DIST, "bandwidth": GO})
        assert call(made, "CHECK").ok
        assert call(made, "CHECK", burstTime=0, latency=0).ok


@contextmanager
def flooded(node: Node, pod: Pod, address: str) -> Iterator[None]:
    """More UDP packets to the pod than pass."""
    port, done = next(_ports), threading.Event()
    receiving, sending = pod.socket(kind=socket.SOCK_DGRAM), node.socket(kind=socket.SOCK_DGRAM)
    receiving.bind((address, port))

    def send() -> None:
        while not done.is_set():
            for _ in range(20):
                try:
                    sending.sendto(bytes(1400), (address, port))
                except OSError:  # the queue is full
                    pass
            time.sleep(0.001)

    thread = threading.Thread(target=send)
    with receiving, sending:
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def ping(node: Netns, address: str) -> float:
    """Seconds until the answer comes; a second more than any queue where none comes."""
    said = node.run("ping", "-n", "-c", "1", "-W", "3", address, check=False)
    found = re.search(r"time=([\d.]+) ms", said)
    return float(found[1]) / 1000 if found else 4.0


def reached(at: Netns, address: str) -> bool:
    """Whether an answer comes at last."""
    return eventually(lambda: ping(at, address) < 4)


def test_a_ping_under_load(node: Node) -> None:
    """1 Mbit/s. Go's queue holds the burst too, here 100 kB: a ping waits most of a second. Ours holds ten packets."""
    keys = {"ingressRate": 1_000_000, "ingressBurst": 800_000}
    gos = limited(node, **keys, burstTime=0, latency=0).add()
    with flooded(node, gos.pod, gos.address):
        assert eventually(lambda: root(node, gos.host)["backlog"] > 90_000)
        assert eventually(lambda: 0.5 < ping(node, gos.address) < 4), "Go's queue does not make a ping wait"
    ours = limited(node, capability={"ingressRate": 1_000_000, "ingressBurst": NOT_KNOWN}).add()
    with flooded(node, ours.pod, ours.address):
        assert eventually(lambda: root(node, ours.host)["drops"] > 100)
        # the shortest of several: others' work on the machine only makes it longer
        assert eventually(lambda: ping(node, ours.address) < 0.4), "a ping waits longer than the queue"
        assert root(node, ours.host)["backlog"] <= 15_200


def test_only_some_subnets_are_limited(node: Node) -> None:
    """Of the other side, both ways and both families; all others pass by without waiting."""
    outside = ["192.0.2.0/24", "2001:db8:ff::/64"]
    for keys in ({"shapedSubnets": outside}, {"unshapedSubnets": ["10.1.0.0/24", "fd00:1::/64"]}):
        chain = limited(node, **BOTH, **keys).add()
        assert all(outcome.ok for outcome in chain.check())
        for at in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            node.sysctl(at, "1")
        node.outside.ip("route replace 10.1.0.0/24 via 192.0.2.1", "route replace fd00:1::/64 via 2001:db8:ff::1")
        for address, far in zip(chain.addresses, (node.OUTSIDE, node.OUTSIDE6), strict=True):
            assert reached(chain.pod, far)
            # one packet, which may be the kernel's largest, passes a class that has any tokens
            assert seconds(chain.pod, node.outside, address) >= shortest(burst=BURST + 8 * 70_000)
            assert seconds(node.outside, chain.pod, far) >= shortest(burst=BURST + 8 * 70_000)
        devices = (chain.host, ifb(chain))
        counted = [_in_class(node, device) for device in devices]
        assert all(count > 2 * SIZE for count in counted)
        for receiver, sender, address in ways(chain):
            seconds(receiver, sender, address)
        for device, count in zip(devices, counted, strict=True):
            assert _in_class(node, device) - count < SIZE and root(node, device)["bytes"] > count + 2 * SIZE
        chain.remove()


def _in_class(node: Node, device: str) -> int:
    """The bytes that the limited class has sent."""
    return int(
        re.search(r"class htb 1:30 .*\n Sent (\d+) bytes", node.run("tc", "-s", "class", "show", "dev", device))[1]
    )  # type: ignore[index]


# what is refused


def test_what_has_no_host_end_is_refused(node: Node) -> None:
    """Without a veth, with it elsewhere, and without a result, in Go's words; without limits all is well."""
    pod = node.pod()
    chain = limited(node, pod=pod, **BOTH)
    chain.result = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": pod.path}]}
    for verb in ("ADD", "CHECK"):
        missing = call(chain, verb).error
        assert missing["msg"] == "container interface eth0 has no veth peer: Link not found"
        assert call(chain, verb, **dict.fromkeys(BOTH)).ok
    pod.ip("link add br9 type bridge", "link set br9 name eth0")
    assert call(chain, "ADD").error["msg"] == "container interface eth0 has no veth peer: it is of kind bridge"
    pod.ip("link delete eth0", f"link add eth0 type veth peer name far netns {node.outside.name}")
    assert re.fullmatch(r"veth peer with index \d+ is not in host ns", call(chain, "ADD").error["msg"])
    assert call(chain, "ADD", prevResult=None).error["msg"] == "must be called as chained plugin"
    assert call(chain, "CHECK", prevResult=None).error["msg"] == "must be called as a chained plugin"
    assert not ifbs(node)


def test_queues_and_filters_of_others_stay(node: Node) -> None:
    """ADD fails with Go's words, and takes back the other way's limit."""
    for prepare, text in (
        ("qdisc add dev {} root handle 7: tbf rate 8mbit burst 10000 limit 35000", "create qdisc: file exists"),
        ("qdisc add dev {} clsact", "create ingress qdisc: file exists"),
    ):
        chain = limited(node, **BOTH)
        chain.result = chain.call(0, "ADD").result
        node.run("tc", *prepare.format(chain.host).split())
        before = node.run("tc", "qdisc", "show", "dev", chain.host)
        error = call(chain, "ADD").error
        assert error["msg"].startswith(text) and chain.host in error["details"]
        assert node.run("tc", "qdisc", "show", "dev", chain.host) == before and not ifbs(node)


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.1"])
def test_a_result_without_interfaces_is_enough(node: Node, version: str) -> None:
    """The host end is found from the container."""
    chain = limited(node, version=version, **BOTH).add()
    assert len(ifbs(node)) == 1
    if version >= "0.4":
        assert call(chain, "CHECK").ok
    chain.remove(prev_result=False)
    assert not ifbs(node)


# what is there, and what stays


def test_check_names_each_difference(node: Node) -> None:
    """Whatever was changed by hand; a second ADD mends it."""
    chain = limited(node, **BOTH).add()
    host, other = chain.host, ifb(chain)
    tbf = "tc qdisc replace dev {} root handle 1: tbf rate {}bit burst {} limit {}"
    usual = (RATE, BURST // 8, 67_054)
    damages = {
        tbf.format(host, 2 * RATE, *usual[1:]): f"Rate doesn't match; that of {host} is",
        tbf.format(other, RATE, 90_000, 90_000): f"Buffer doesn't match; that of {other} is",
        tbf.format(host, *usual[:2], 90_000): f"Limit doesn't match; that of {host} is",
        f"tc qdisc delete dev {host} root": f"Failed to find qdisc; {host} has no limit",
        f"tc qdisc delete dev {other} root": f"Failed to find qdisc; {other} has no limit",
        f"tc qdisc delete dev {host} ingress": f"the packets that {host} receives are not redirected to {other}",
        f"tc filter delete dev {host} ingress": f"the packets that {host} receives are not redirected to {other}",
        f"ip link set {other} down": f"Interface {other} is down",
        f"ip link delete {other}": f"get ifb device: Link not found; {other} is missing",
    }
    for damage, text in damages.items():
        assert call(chain, "CHECK").ok
        node.run(*damage.split())
        error = call(chain, "CHECK").error
        found = f"{error['msg']}; {error.get('details', '')}"
        if "Buffer" in text:
            found = found.replace("Limit doesn't match", "Buffer doesn't match")
        assert text in found, damage
        chain.result = call(chain, "ADD").result
    some = limited(node, **BOTH, shapedSubnets=["10.0.0.0/8", "fd00::/8"]).add()
    node.run("tc", "filter", "delete", "dev", ifb(some), "parent", "1:", "prio", "15")
    error = call(some, "CHECK").error
    assert error["msg"] == "Subnets don't match"
    assert error["details"] == f"{ifb(some)} limits packets to 10.0.0.0/8, not packets to 10.0.0.0/8, fd00::/8"


def test_limits_are_replaced_and_removed_while_the_link_stays(node: Node) -> None:
    """ADD again with other numbers, DEL, and ADD once more. In between the pod is reached, also if the ifb was removed."""
    chain = limited(node, **BOTH).add()
    chain.conflist["plugins"][1].update(ingressRate=2 * RATE, egressRate=3 * RATE)
    chain.result = call(chain, "ADD").result
    rates = [root(node, device)["options"]["rate"] for device in (chain.host, ifb(chain))]
    assert rates == [RATE // 4, RATE * 3 // 8] and call(chain, "CHECK").ok
    for prepare in ("", f"ip link delete {ifb(chain)}"):
        if prepare:
            node.run(*prepare.split())
        assert call(chain, "DEL", prevResult=None).ok
        assert [each["kind"] for each in shown(node, "qdisc", chain.host)] == ["noqueue"] and not ifbs(node)
        assert reached(node, chain.address)
        chain.result = call(chain, "ADD").result
        assert call(chain, "CHECK").ok and reached(node, chain.address)
    # a late DEL of a container whose namespace had the same path
    assert limited(node, **BOTH).call(1, "DEL", netns=chain.pod.path).ok and call(chain, "CHECK").ok


@pytest.mark.parametrize("gos", [False, True])
def test_two_interfaces_of_one_container(node: Node, gos: bool) -> None:
    """In one network: Go's name is the first one's. Each is limited, and DEL of one leaves the other."""
    if gos and not Path(GO, "bandwidth").is_file():
        pytest.skip("Go's bandwidth is not installed")
    first = limited(node, **BOTH).add(binaries={"bridge": DIST, "bandwidth": GO if gos else DIST})
    second = limited(node, pod=first.pod, ifname="eth1", **BOTH).add()
    assert ifb(first).startswith("bwp") and ifb(second).startswith("ifb") and len(ifbs(node)) == 2
    assert call(first, "CHECK").ok and call(second, "CHECK").ok
    second.remove(prev_result=False)
    assert ifbs(node) == {ifb(first)} and call(first, "CHECK").ok
    second.add()
    first.remove(prev_result=False)
    assert ifbs(node) == {ifb(second)} and call(second, "CHECK").ok
    second.remove()
    # without a separator in between, network and container make the same name
    one, other = (
        limited(node, name=name, pod=node.pod(container), **BOTH) for name, container in (("a", "bc9"), ("ab", "c9"))
    )
    for each in (one, other):
        each.add()
    assert {ifb(one)[:3], ifb(other)[:3]} == {"bwp", "ifb"}
    for each in (one, other):
        assert call(each, "CHECK").ok
        each.remove()
    assert not ifbs(node)


def collected(chain: Chain, *valid: Chain) -> str:
    """GC with these pods as the valid ones: what it says."""
    listed = [{"containerID": each.pod.container, "ifname": "eth0"} for each in valid]
    outcome = chain.call(1, "GC", cniVersion="1.1.0", **{"cni.dev/valid-attachments": listed})
    assert outcome.ok, outcome.stdout
    return outcome.stderr


FORMS: list[Callable[[Chain], bool]] = [
    lambda chain: call(chain, "DEL", prevResult=None).ok,
    lambda chain: call(chain, "ADD").ok and call(chain, "DEL").ok,
    lambda chain: chain.pod.close() or call(chain, "DEL", netns="", prevResult=None).ok,
    lambda chain: chain.pod.close() or collected(chain) is not None,
]


@pytest.mark.skipif(not Path("/usr/bin/strace").is_file(), reason="strace is not installed")
def test_no_ifb_stays(node: Node) -> None:
    """ADD is killed at each of its calls to the kernel. Then DEL, another ADD, DEL without the pod, or GC."""
    for number in itertools.count(1):
        chain = limited(node, **BOTH)
        chain.result = chain.call(0, "ADD").result
        conf = chain.configuration(1, prevResult=chain.result)
        called = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": chain.pod.container, "CNI_NETNS": chain.pod.path}
        died, _ = die_in_the_kernel(node, conf, number, **called)
        assert FORMS[number % len(FORMS)](chain)
        assert not ifbs(node), f"{number} {number % len(FORMS)}"
        if not died:
            break
    assert number > 8


def test_an_ifb_that_has_no_alias_yet(node: Node) -> None:
    """It has the network's prefix: every form removes it, and GC of another network does not. So with a whole one."""
    alive, other = limited(node, **BOTH).add(), limited(node, name="net2", **BOTH)
    for form in FORMS[:3]:
        chain = limited(node, **BOTH)
        chain.result = chain.call(0, "ADD").result
        node.ip(f"link add ifb{chain.host.removeprefix('veth')} type ifb")
        assert form(chain) and ifbs(node) == {ifb(alive)}
    gone = limited(node, **BOTH).add()
    gone.pod.close()
    node.ip(
        f"link add ifb{gone.host.removeprefix('veth')} type ifb",
        "link add ifb0 type ifb",
        "link add bwp0123456789ab type ifb",
    )
    foreign = {"ifb0", "bwp0123456789ab"}
    assert len(ifbs(node)) == 5 and "removed" not in collected(other) and len(ifbs(node)) == 5
    assert collected(alive, alive).count("removed ifb") == 2
    assert ifbs(node) == {ifb(alive), *foreign} and call(alive, "CHECK").ok
    things = json.loads(node.run(f"{DIST}/cni-handback", "--list", str(node.data_dir)))
    found = {thing["kind"]: thing for thing in things if "ifb" in thing["kind"]}
    assert found["ifb"]["owner"] == {"network": "net1", "container": alive.pod.container, "ifname": "eth0"}
    assert found["ifb"]["facts"]["link"] == ifb(alive)
    assert found["ifb of Go's plugins"]["identity"] == "bwp0123456789ab"
