"""Pods that are replaced, and a node on which something dies or is swept away."""

import pytest

from node.deadline import eventually
from node.topology import Node

from . import objects
from .client import Client, serves
from .cluster import Cluster, Object
from .test_everyday import address, cluster_ip, reached

pytestmark = pytest.mark.kubernetes

# Kubelet tries a refused ADD again after ten seconds. Nobody waits for that here.
NEXT_TRY = 8.0


def published(cluster: Cluster, kind: str, grace: int = 1) -> list[str]:
    """A workload of one pod with host port 8080; the names of its pods."""
    template = objects.spec(objects.container(80, 8080), grace=grace)
    body = objects.workload("web", template) if kind == "deployments" else objects.daemon_set("web", template)
    cluster.api.create(kind, body)
    names = [pod["metadata"]["name"] for pod in cluster.wait_for(1, "web")]
    assert serves(cluster.node.outside, Node.ADDRESS, 8080) in names
    return names


@pytest.mark.parametrize("kind", ["deployments", "daemonsets"])
def test_a_pod_that_is_deleted_by_force_hands_its_host_port_on(cluster: Cluster, kind: str) -> None:
    """The replacement's ADD comes before the DEL of the old sandbox."""
    names = published(cluster, kind)
    with Client(cluster.node.outside, Node.ADDRESS, 8080) as client:
        cluster.api.delete("pods", names[0], 0)
        assert eventually(lambda: client.answered_by(names), 120, 0.02), cluster.events()
    assert client.silence < NEXT_TRY
    assert len(client.names) == 2, client.names


@pytest.mark.parametrize("kind", ["deployments", "daemonsets"])
def test_a_rolling_update_with_a_host_port(cluster: Cluster, kind: str) -> None:
    """The scheduler holds the new pod back until the old one is gone, and so there is silence; ours adds none."""
    names = published(cluster, kind, grace=0)
    with Client(cluster.node.outside, Node.ADDRESS, 8080) as client:
        change: Object = {"template": {"metadata": {"annotations": {"version": "2"}}}}
        if kind == "deployments":
            change["strategy"] = {"type": "Recreate", "rollingUpdate": None}
        cluster.api.patch(kind, "web", {"spec": change})
        assert eventually(lambda: client.answered_by(names), 120, 0.02), cluster.events()
    assert client.silence < NEXT_TRY


def test_a_rolling_update_behind_a_service_loses_nothing(cluster: Cluster) -> None:
    """New pods serve before old ones go."""
    template = objects.spec(objects.container(), grace=3)
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    cluster.api.create("deployments", objects.workload("web", template, 2, **strategy))
    cluster.api.create("services", objects.service("web", "web", 80))
    names = [pod["metadata"]["name"] for pod in cluster.wait_for(2, "web")]
    where = cluster_ip(cluster, "web")
    assert eventually(lambda: serves(cluster.node, where, 80) in names, 30, 0.05)
    with Client(cluster.node, where, 80) as client:
        cluster.api.patch("deployments", "web", {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}})
        assert eventually(lambda: not {pod["metadata"]["name"] for pod in cluster.pods("web")} & set(names), 120, 0.1)
        cluster.wait_for(2, "web")
    assert client.answered_by(names)
    assert client.silence < NEXT_TRY


@pytest.mark.parametrize("victim", ["kubelet", "runtime"])
def test_killed_in_the_middle_of_twenty_adds(cluster: Cluster, victim: str) -> None:
    """Started again, all pods come up, and nothing is left when they are gone (which ``emptied`` holds)."""
    cluster.api.create("deployments", objects.workload("many", objects.spec(objects.container()), 20))
    assert eventually(
        lambda: len(cluster.node.ports("cni0")) >= 5 if "cni0" in cluster.node.links() else False, 60, 0.01
    )
    if victim == "kubelet":
        cluster.daemons["kubelet"].kill()
        cluster.daemons["kubelet"].start()
    else:
        cluster.runtime.kill()
        cluster.runtime.start()
    pods = cluster.wait_for(20, "many", 300)
    assert len({address(pod) for pod in pods}) == 20


def test_kube_proxy_restarted(cluster: Cluster) -> None:
    names = published(cluster, "deployments")
    cluster.api.create("services", objects.service("web", "web", 80))
    where = cluster_ip(cluster, "web")
    assert reached(cluster.node, where, 80, names[0])
    with Client(cluster.node.outside, Node.ADDRESS, 8080) as client:
        cluster.daemons["kube-proxy"].kill()
        cluster.daemons["kube-proxy"].start()
        cluster.api.create("services", objects.service("later", "web", 81))
        assert reached(cluster.node, cluster_ip(cluster, "later"), 81, names[0])
    assert all(request.name == names[0] for request in client.requests)


def test_connection_tracking_flushed(cluster: Cluster) -> None:
    names = published(cluster, "deployments")
    with Client(cluster.node.outside, Node.ADDRESS, 8080) as client:
        for _ in range(5):
            asked = len(client.requests)
            cluster.node.run("conntrack", "-F")
            assert eventually(lambda asked=asked: len(client.requests) > asked + 2, 30)  # type: ignore[misc]
    assert serves(cluster.node.outside, Node.ADDRESS, 8080) == names[0]
    assert client.silence < NEXT_TRY


def swept(cluster: Cluster, *command: str) -> str:
    """Run a command that takes rules away while a client asks for a host port, then start a pod. Who has the host port."""
    (name,) = published(cluster, "deployments")
    with Client(cluster.node.outside, Node.ADDRESS, 8080) as client:
        assert eventually(lambda: client.answered_by([]), 30, 0.02)
        cluster.node.run(*command)
        cluster.api.create("pods", objects.pod("next", objects.container(80, 8081)))
        cluster.wait_for(1, "next")
        assert reached(cluster.node.outside, Node.ADDRESS, 8081, "next")
    return name


def test_iptables_nat_flushed(cluster: Cluster) -> None:
    """If somebody flushes iptables' nat table, the ADD of the next pod brings host ports back."""
    name = swept(cluster, "iptables", "-t", "nat", "-F")
    assert reached(cluster.node.outside, Node.ADDRESS, 8080, name)


def test_nftables_flushed(cluster: Cluster) -> None:
    """The only record of host ports is gone. Pods that start later have theirs, and nothing is left in the end."""
    swept(cluster, "nft", "flush", "ruleset")


def test_somebody_elses_rules_in_forward(cluster: Cluster) -> None:
    """As a NetworkPolicy's: what they accept goes on, what they drop stays dropped."""
    node = cluster.node
    cluster.api.create("pods", objects.pod("a", objects.container(80, 8080)))
    cluster.api.create("pods", objects.pod("b", objects.container(80, 8081)))
    pods = {pod["metadata"]["name"]: pod for pod in cluster.wait_for(2)}
    open_, shut = address(pods["a"]), address(pods["b"])
    rules = [("-A", "FORWARD", "-d", open_, "-j", "ACCEPT"), ("-A", "FORWARD", "-d", shut, "-j", "DROP")]
    for rule in rules:
        node.run("iptables", *rule)
    try:
        assert serves(node.outside, Node.ADDRESS, 8080) == "a"
        assert serves(node.outside, Node.ADDRESS, 8081, 0.5) == ""
        assert serves(node, Node.ADDRESS, 8081) == "b"
    finally:
        for rule in rules:
            node.run("iptables", "-D", *rule[1:])


def test_a_reboot(cluster: Cluster) -> None:
    """Namespaces, links, rules and /run are gone, leases are there: pods come back, and no lease is lost."""
    cluster.api.create("deployments", objects.workload("web", objects.spec(objects.container()), 5))
    cluster.api.create("pods", objects.pod("published", objects.container(80, 8080)))
    cluster.wait_for(6)
    cluster.reboot()
    pods = cluster.wait_for(6, seconds=300)
    assert eventually(lambda: set(cluster.node.leases("k8s")) == {address(pod) for pod in cluster.running()}, 120, 0.2)
    assert len(pods) == 6
    assert reached(cluster.node.outside, Node.ADDRESS, 8080, "published")
