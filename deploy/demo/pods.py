"""The first scene: two pods on a bridge, with both families and a published port."""

import json
import sys
from pathlib import Path

from stage import NODE, OUTSIDE, SERVER, UPLINK, WORLD, Network, asks, links, node, pings, serving, step, table

PODS = ("pycni-demo-a", "pycni-demo-b")
PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}


def show(folder: Path) -> None:
    """Attach the pods, show what they have, remove them, show that nothing is left."""
    network = Network(folder, json.loads((folder / "etc/cni/net.d/10-mynet.conflist").read_text()))
    step("attach two pods")
    for pod, capabilities in zip(PODS, ({"portMappings": [PORT]}, {}), strict=True):
        network.call("ADD", pod, **capabilities)
        print(f"{pod}: {', '.join(ip['address'] for ip in network.results[pod]['ips'])}")

    step("the pods reach each other, the node and the network outside")
    for pod, other in (PODS, PODS[::-1]):
        for ip in network.results[other]["ips"]:
            print(pings(pod, ip["address"].split("/")[0]))
    for pod in PODS:
        print(pings(pod, network.results[pod]["ips"][0]["gateway"]))
        print(pings(pod, WORLD))

    step(f"port {PORT['hostPort']} of the node leads to {PODS[0]}: from outside, from the node, from the other pod")
    with serving(PODS[0], SERVER, 80):
        for client, address in ((OUTSIDE, UPLINK), (NODE, UPLINK), (NODE, "127.0.0.1"), (PODS[1], UPLINK)):
            print(asks(client, address, 8080))
    objects(network)

    step("check and remove the pods")
    for pod in PODS:
        network.call("CHECK", pod)
        network.call("DEL", pod)
        print(f"{pod}: removed")
    rules = node("nft", "list", "ruleset").strip()
    leases = network.leases()
    print(f"leases: {leases or 'none'}; nftables: {rules or 'nothing'}; links: {links()}")
    if rules or leases or links() != sorted(["lo", "uplink", network.conflist["plugins"][0]["bridge"]]):
        sys.exit("demo: something is left")
    print("nothing is left but the bridge, which stays for the next pod")


def objects(network: Network) -> None:
    """Print the links, addresses and rules on the node."""
    step("links, addresses and rules on the node")
    rows: list[tuple[str, ...]] = [("pod", "address", "gateway", "in the pod", "on the node", "alias")]
    for pod, result in network.results.items():
        host = result["interfaces"][1]["name"]
        alias = json.loads(node("ip", "-j", "link", "show", "dev", host))[0].get("ifalias", "")
        for ip in result["ips"]:
            rows.append((pod, ip["address"], ip.get("gateway", ""), "eth0", host, alias))
    table(rows)
    rules = [line.split(" comment ")[0].strip() for line in node("nft", "list", "ruleset").splitlines()]
    print("\n  rules, the same for any number of pods:")
    print("\n".join(f"    {line}" for line in rules if line.endswith(("masquerade", " drop")) or " dnat ip" in line))
    print("\n  the published port, one element of a map:")
    listed = node("nft", "list", "map", "inet", "pycni_hostports", "hostports4")
    print(f"    {listed.split('elements = ')[1].splitlines()[0]}")
