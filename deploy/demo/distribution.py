"""The second scene: podman's own list of plugins, with a limited rate, and a second network that is kept apart."""

import sys
from pathlib import Path

from stage import OUTSIDE, SERVER, SINK, UPLINK, WORLD, Network, Object, answer, asks, links, rate, serving, step

PODS = ("pycni-demo-web", "pycni-demo-peer", "pycni-demo-other")
PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
# bits: 40 Mbit/s, and 100 kB at once
LIMIT = {"egressRate": 40_000_000, "egressBurst": 800_000}
BYTES = 6_000_000


def podman(name: str, bridge: str, subnet: str) -> Object:
    """What podman writes for an isolated network, and bandwidth behind it."""
    ipam = {"type": "host-local", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": subnet}]]}
    main = {"type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": True, "hairpinMode": True, "ipam": ipam}
    behind: list[Object] = [
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall", "ingressPolicy": "same-bridge"},
        {"type": "tuning"},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
    ]
    return {"cniVersion": "0.4.0", "name": name, "plugins": [main, *behind]}


def show(folder: Path) -> None:
    """Attach three pods to two networks, show ports, rates and isolation, remove them."""
    web, peer, other = PODS
    mine = Network(folder, podman("mine", "cni-podman1", "10.89.0.0/24"))
    theirs = Network(folder, podman("theirs", "cni-podman2", "10.90.0.0/24"))
    step("podman's list: bridge, host-local, portmap, firewall, tuning; bandwidth behind it. Two networks, three pods")
    mine.call("ADD", web, portMappings=[PORT], bandwidth=LIMIT)
    mine.call("ADD", peer)
    theirs.call("ADD", other)
    for network, pod in ((mine, web), (mine, peer), (theirs, other)):
        print(f"{pod}: {network.address(pod)} in {network.conflist['name']}")

    step(f"port {PORT['hostPort']} leads to {web}; its neighbour reaches it, the pod of the other network does not")
    with serving(web, SERVER, 80):
        print(asks(OUTSIDE, UPLINK, 8080))
        print(asks(peer, mine.address(web), 80))
        if answer(other, mine.address(web), 80, 1):
            sys.exit(f"demo: {other} reaches {web}, though their networks are isolated")
        print(f"{other} asks {mine.address(web)}:80: no answer")

    step(f"{web} sends at most 40 Mbit/s, {peer} as much as it can")
    rates = {}
    for pod in (web, peer):
        with serving(OUTSIDE, SINK, 5001):
            rates[pod] = rate(pod, WORLD, 5001, BYTES)
        print(f"{pod} sends {BYTES // 1_000_000} MB to the network outside: {rates[pod]:.0f} Mbit/s")
    # the burst is not limited
    if rates[web] > 40 * BYTES / (BYTES - LIMIT["egressBurst"] // 8) * 1.05:
        sys.exit(f"demo: {web} sends more than its limit")

    step("check and remove the pods")
    for network, pod in ((mine, web), (mine, peer), (theirs, other)):
        network.call("CHECK", pod)
        network.call("DEL", pod)
        print(f"{pod}: removed")
    if mine.leases() or theirs.leases() or links() != ["cni-podman1", "cni-podman2", "lo", "uplink"]:
        sys.exit(f"demo: something is left: {mine.leases()} {theirs.leases()} {links()}")
    print("nothing is left but the two bridges")
