"""The daemon goes on with leases of Go's daemon that the runtime's records name: no CHECK is needed for it."""

import base64
import json
from pathlib import Path

import pytest

from node.deadline import eventually
from node.dhcp import Client, Daemon, Site
from node.dhcpsite import OURS_ALONE
from node.dhcpsite import site as site  # the fixture
from node.plugin import GO

pytestmark = [
    pytest.mark.real,
    OURS_ALONE,
    pytest.mark.skipif(not Path(GO, "dhcp").is_file(), reason="needs Go's dhcp"),
]
RESULTS = Path("/var/lib/cni/results")


def record(client: Client, socket: Path) -> Path:
    """The file that libcni keeps for an attachment."""
    conf = {**client.conf, "ipam": {**client.conf["ipam"], "daemonSocketPath": str(socket)}}
    conflist = {"cniVersion": "1.0.0", "name": "net1", "plugins": [{**conf, "type": "macvlan"}]}
    document = {
        "kind": "cniCacheV1",
        "containerId": client.pod.container,
        "config": base64.b64encode(json.dumps(conflist).encode()).decode(),
        "ifName": client.ifname,
        "networkName": "net1",
        "netns": client.pod.path,
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAME", "pod"]],
        "result": client.result,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    at = RESULTS / f"net1-{client.pod.container}-{client.ifname}"
    at.write_text(json.dumps(document))
    return at


def test_recorded_leases_are_adopted_when_the_daemon_starts(site: Site) -> None:
    """Confirmed: kept and renewed. Refused, of another daemon, or unreadable: left alone."""
    server = site.segment.server()
    server.t1, server.t2, server.lease = 1, 500, 600
    with Daemon(site.node, site.folder, "go") as go:
        client, refused, other = (site.client(go).bind() for _ in range(3))
    ours = Daemon(site.node, site.folder, start=False)
    files = [record(each, ours.socket) for each in (client, refused)]
    files.append(record(other, Path("/run/cni/dhcp.sock")))
    files.append(RESULTS / "torn")
    files[-1].write_text('{"kind": "cniCacheV1", "netns"')
    server.refuse = lambda request: request.message.chaddr == refused.hardware
    before = len(server.kinds(other.hardware))
    try:
        with ours:
            ours.start()
            assert ours.says(f"{client.pod.container}/net1/eth0: lease of another daemon confirmed: {client.address}")
            assert ours.says(f"{refused.pod.container}/net1/eth0: .*not confirmed")
            assert eventually(lambda: server.kinds(client.hardware).count("REQUEST renewing") > 1)
            assert len(ours.kept()) == 1 and len(server.kinds(other.hardware)) == before
            client.binaries = ours.binaries
            client.conf["ipam"]["daemonSocketPath"] = str(ours.socket)
            assert client.check().ok and client.delete().ok
            server.wait_heard("RELEASE")
    finally:
        for at in files:
            at.unlink()
