"""As root of a user namespace of one's own, as podman and nerdctl are without root: with a /run and a dataDir there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from node.plugin import LIMIT, SUBJECT, Object

pytestmark = pytest.mark.real

# Runs in the new namespaces; what it prints is one line a call: plugin, verb, error.
INSIDE = r"""
import json, os, subprocess, sys

folder, work = sys.argv[1:]
ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CNI_PATH": folder, "CNI_FORKSERVER": "", "CNI_IFNAME": "eth0"}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def call(plugin, verb, conf):
    environ = {**ENVIRON, "CNI_COMMAND": verb, "CNI_CONTAINERID": "ctr1", "CNI_NETNS": "/run/netns/pod"}
    done = subprocess.run([f"{folder}/{plugin}"], input=json.dumps(conf), env=environ, capture_output=True, text=True)
    print(json.dumps([plugin, verb, "" if done.returncode == 0 else done.stdout + done.stderr]))
    return json.loads(done.stdout) if done.stdout and not done.returncode else {}


run("mount", "-t", "tmpfs", "tmpfs", "/run")
os.makedirs("/run/netns")
run("ip", "netns", "add", "pod")
run("ip", "link", "set", "lo", "up")
told = json.loads(open(f"{work}/asked").read())
named = {"cniVersion": "1.0.0", "name": "net1"}
below, above = ({**named, **conf} for conf in told["plugins"])
result = call("bridge", "ADD", below)
for mappings in told["mappings"]:
    conf = {**above, "runtimeConfig": {"portMappings": mappings}, "prevResult": result}
    call("portmap", "ADD", conf)
    call("portmap", "CHECK", conf)
    call("portmap", "ADD", conf)
    if above.get("backend") == "iptables":
        count = run("iptables-save", "-t", "nat").count("-j DNAT")
    else:
        count = run("nft", "list", "map", "inet", "pycni_hostports", "hostports4").count("comment")
    print(json.dumps(["elements", "", count]))
    call("portmap", "DEL", conf)
call("bridge", "CHECK", {**below, "prevResult": result})
call("bridge", "DEL", {**below, "prevResult": result})
rules = run("iptables-save", "-t", "nat") if "backend" in above else run("nft", "list", "ruleset")
left = [line for line in rules.splitlines() if line.startswith(("-A", "table"))]
print(json.dumps(["left", "", "".join(left) + run("ip", "-br", "link", "show", "type", "veth")]))
"""


def _calls(work: Path, plugins: list[Object], mappings: list[list[Object]]) -> list[list[str]]:
    """What each call said: plugin, verb, error."""
    (work / "asked").write_text(json.dumps({"plugins": plugins, "mappings": mappings}))
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", sys.executable, "-c", INSIDE]
    done = subprocess.run([*command, SUBJECT, str(work)], capture_output=True, text=True, timeout=3 * LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _ports(count: int, *protocols: str) -> list[Object]:
    return [{"hostPort": 10000 + n, "containerPort": 80, "protocol": each} for each in protocols for n in range(count)]


@pytest.mark.beyond_old_go("its iptables cannot send so many rules, and it has no nftables")
@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_any_number_of_ports_in_a_user_namespace(tmp_path: Path, backend: str) -> None:
    """300 of TCP, 150 of TCP and UDP, 2 000 of TCP, in both families: ADD, CHECK, ADD anew, DEL, and nothing left."""
    subnets = [[{"subnet": "10.1.0.0/24"}], [{"subnet": "2001:db8:1::/64"}]]
    ipam = {"type": "host-local", "dataDir": str(tmp_path / "leases"), "ranges": subnets}
    bridge = {"type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True, "macspoofchk": True, "ipam": ipam}
    asked = [_ports(300, "tcp"), _ports(150, "tcp", "udp")]
    counts = [300, 300]
    portmap: Object = {"type": "portmap"}
    if backend == "iptables":
        portmap["backend"] = bridge["ipMasqBackend"] = backend
    else:
        asked.append(_ports(2000, "tcp"))
        counts.append(2000)
    calls = _calls(tmp_path, [bridge, portmap], asked)
    assert [call for call in calls if call[0] not in ("elements", "left") and call[2]] == []
    assert [call[2] for call in calls if call[0] == "elements"] == counts
    assert calls[-1] == ["left", "", ""]
