"""What a cluster does all day: pods, services, published ports, in each runtime and each form of the plugins."""

import pytest

from node.deadline import eventually
from node.namespace import Netns
from node.ports import source
from node.topology import Node

from . import objects
from .client import name_of, serves
from .cluster import Cluster, Object

pytestmark = pytest.mark.kubernetes

OPEN, LOCAL = 31080, 31081


def address(pod: Object) -> str:
    return str(pod["status"]["podIP"])


def cluster_ip(cluster: Cluster, name: str) -> str:
    return str(cluster.api.get("services", name)["spec"]["clusterIP"])


def two(cluster: Cluster, **keys: object) -> tuple[Object, Object]:
    """Two pods that serve."""
    for name in ("a", "b"):
        cluster.api.create("pods", objects.pod(name, **keys))
    pods = {pod["metadata"]["name"]: pod for pod in cluster.wait_for(2)}
    return pods["a"], pods["b"]


def reached(at: Netns, where: str, port: int, name: str) -> bool:
    """Whether a server is reached there, once kube-proxy has heard of it."""
    return eventually(lambda: serves(at, where, port) == name, 30, 0.05)


def test_pods_reach_each_other_the_node_and_the_world(cluster: Cluster) -> None:
    a, b = two(cluster)
    assert name_of(cluster.netns(a), address(b), 80) == "b"
    assert name_of(cluster.node, address(a), 80) == "a"
    for target in (Node.OUTSIDE, Node.ADDRESS):
        server = cluster.node.outside if target == Node.OUTSIDE else cluster.node
        seen = source("tcp", server, 8099, cluster.netns(a), target, 8099)
        assert seen == (Node.ADDRESS if server is cluster.node.outside else address(a))


def test_a_service_serves_the_node_pods_and_its_own_endpoint(cluster: Cluster) -> None:
    a, b = two(cluster)
    cluster.api.create("services", objects.service("web", "a", 8000))
    where = cluster_ip(cluster, "web")
    for at in (cluster.node, cluster.netns(b), cluster.netns(a)):
        assert reached(at, where, 8000, "a")


def test_node_ports(cluster: Cluster) -> None:
    _, b = two(cluster)
    cluster.api.create("services", objects.service("open", "a", 80, type="NodePort"))
    cluster.api.create("services", objects.service("local", "a", 80, type="NodePort", externalTrafficPolicy="Local"))
    ports = [cluster.api.get("services", name)["spec"]["ports"][0]["nodePort"] for name in ("open", "local")]
    for port in ports:
        for at in (cluster.node.outside, cluster.node, cluster.netns(b)):
            assert reached(at, Node.ADDRESS, port, "a"), (port, at)


def test_a_host_port_answers_everybody(cluster: Cluster) -> None:
    cluster.api.create("pods", objects.pod("a", objects.container(80, 8080)))
    cluster.api.create("pods", objects.pod("b"))
    pods = {pod["metadata"]["name"]: pod for pod in cluster.wait_for(2)}
    own, beside = cluster.netns(pods["a"]), cluster.netns(pods["b"])
    for at, where in (
        (cluster.node.outside, Node.ADDRESS),
        (cluster.node, Node.ADDRESS),
        (cluster.node, "127.0.0.1"),
        (beside, Node.ADDRESS),
        (own, Node.ADDRESS),
    ):
        assert name_of(at, where, 8080) == "a", (at, where)


def test_a_host_port_shows_the_client_from_outside(cluster: Cluster) -> None:
    """The address of the client is rewritten only where it must be."""
    idle = {**objects.container(80, 8080), "command": ["/bin/sleep", "3600"]}
    del idle["readinessProbe"]
    cluster.api.create("pods", objects.pod("a", idle))
    (pod,) = cluster.wait_for(1)
    assert source("tcp", cluster.netns(pod), 80, cluster.node.outside, Node.ADDRESS, 8080) == Node.OUTSIDE


def test_a_service_and_a_host_port_of_one_number(cluster: Cluster) -> None:
    """The Service's address leads to the Service, and the node's to the host port, for every client."""
    cluster.api.create("pods", objects.pod("published", objects.container(80, 443)))
    cluster.api.create("pods", objects.pod("served"))
    cluster.api.create("services", objects.service("web", "served", 443))
    pods = {pod["metadata"]["name"]: pod for pod in cluster.wait_for(2)}
    where = cluster_ip(cluster, "web")
    for at in (cluster.node, cluster.netns(pods["served"]), cluster.netns(pods["published"])):
        assert reached(at, where, 443, "served")
        assert name_of(at, Node.ADDRESS, 443) == "published"
    # the API itself is a Service at port 443
    api = cluster_ip(cluster, "kubernetes")
    with cluster.netns(pods["served"]).socket() as connection:
        connection.settimeout(5)
        connection.connect((api, 443))
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"HTTPS server" in connection.recv(200)


def test_exec_and_port_forward(cluster: Cluster) -> None:
    cluster.api.create("pods", objects.pod("a"))
    cluster.wait_for(1)

    def hostname() -> str:
        try:
            return cluster.kubectl("exec", "a", "--", "busybox", "hostname").strip()
        except AssertionError:  # kubelet with dockershim knows a container a moment after it has reported it
            return ""

    assert eventually(lambda: hostname() == "a", 60, 0.2)
    forward = cluster.start("port-forward", *cluster.client, "port-forward", "pod/a", "18080:80")
    try:
        assert eventually(lambda: serves(cluster.node, "127.0.0.1", 18080) == "a", 30, 0.05), forward.said
    finally:
        forward.stop()


def test_sixty_pods_at_once(cluster: Cluster) -> None:
    """Each has an address of its own, and each is reached."""
    cluster.api.create("deployments", objects.workload("many", objects.spec(objects.container()), 60))
    pods = cluster.wait_for(60, "many", 300)
    assert len({address(pod) for pod in pods}) == 60
    for pod in pods:
        assert name_of(cluster.node, address(pod), 80) == pod["metadata"]["name"]


def test_udp_through_a_service(cluster: Cluster) -> None:
    """A Service's own translation is left alone: the pod answers, and its client sees the Service's address."""
    idle = {**objects.container(53, 0, "UDP"), "command": ["/bin/sleep", "3600"]}
    del idle["readinessProbe"]
    cluster.api.create("pods", objects.pod("a", idle))
    body = objects.service("dns", "a", 53, 53)
    body["spec"]["ports"][0]["protocol"] = "UDP"
    cluster.api.create("services", body)
    (pod,) = cluster.wait_for(1)
    where = cluster_ip(cluster, "dns")

    def seen() -> str:
        try:
            return source("udp", cluster.netns(pod), 53, cluster.node, where, 53, seconds=1)
        except OSError:  # before kube-proxy has heard of the pod, it rejects what is sent to the Service
            return ""

    assert eventually(seen, 30, 0.05)
