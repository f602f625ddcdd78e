"""A whole Kubernetes on one pretended node: etcd, the control plane, kubelet, kube-proxy and a container runtime.

All of it runs in the network namespace of a ``Node`` and keeps its files in one folder; ``close`` ends what was
started and takes away what kubelet and the runtime left. Kubelet is 1.20's: with containerd over the CRI, or with its
own dockershim (``--network-plugin=cni --cni-conf-dir --cni-bin-dir``).
"""

import json
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from node.deadline import eventually
from node.namespace import Netns
from node.topology import Node

from .api import TOKEN, Api, Refused
from .cri import CriContainerd
from .daemon import Daemon
from .docker import Docker
from .mounts import unmount_below
from .objects import NODE

Object = dict[str, Any]

SERVICES, SERVICES6 = "10.96.0.0/16", "fd00:96::/112"
PODS, PODS6 = "10.88.0.0/16", "fd00:88::/64"
DUAL_STACK = "IPv6DualStack=true"
# Kubelet sets these for the whole machine; they are put back.
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")

_KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
featureGates: {{IPv6DualStack: {dual}}}
evictionHard: {{nodefs.available: "1%", imagefs.available: "1%", memory.available: "10Mi"}}
maxPods: 250
registerNode: true
serializeImagePulls: false
kubeAPIQPS: 100
kubeAPIBurst: 200
"""

_KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}}],
    "users": [{"name": "u", "user": {"token": TOKEN}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    "current-context": "x",
}


class Cluster:
    """A running cluster of one node."""

    def __init__(
        self,
        node: Node,
        folder: Path,
        programs: Path,
        binaries: str,
        conflist: Object,
        *,
        runtime: str = "containerd",
        dual: bool = False,
        proxy: str = "iptables",
    ) -> None:
        """``programs`` is the folder of Kubernetes' programs, ``binaries`` that of the CNI plugins.

        ``runtime`` is ``containerd`` or ``dockershim``; ``dual`` turns both families on.
        """
        self.node, self.folder, self.programs, self.dual, self._mode = node, folder, programs, dual, proxy
        self.api = Api(node)
        self.daemons: dict[str, Daemon] = {}
        self._before = {name: Path("/proc/sys", name).read_text() for name in _SYSCTLS}
        self._closing = ExitStack()
        self._closing.callback(self._put_back)
        try:
            self._prepare()
            self._control_plane()
            self.runtime: CriContainerd | Docker
            if runtime == "containerd":
                self.runtime = CriContainerd(node, _made(folder / "c"), binaries, conflist)
            else:
                self.runtime = Docker(node, _made(folder / "d"), binaries, conflist)
            self._closing.callback(self.runtime.close)
            self.start("kubelet", *self._kubelet())
            self.start("kube-proxy", *self._kube_proxy())
            assert eventually(self.ready, 120, 0.2), f"the node is not ready: {self.said}"
        except BaseException:
            self.close()
            raise

    @property
    def said(self) -> str:
        """The end of what each program wrote."""
        return "\n".join(f"--- {name}\n{daemon.said}" for name, daemon in self.daemons.items())

    def _prepare(self) -> None:
        folder = self.folder
        # addresses of Services lead nowhere, but a connection to one begins with a route
        for family, gateway in ((4, Node.OUTSIDE), (6, Node.OUTSIDE6)):
            self.node.run("ip", f"-{family}", "route", "replace", "default", "via", gateway)
        (folder / "kubeconfig").write_text(json.dumps(_KUBECONFIG))
        (folder / "tokens").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        self._run("openssl", "genrsa", "-out", str(folder / "key"), "2048")
        (folder / "kubelet.yaml").write_text(_KUBELET.format(dual="true" if self.dual else "false"))

    def _run(self, *command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def start(self, name: str, *command: str, **environ: str) -> Daemon:
        """A program in the node's namespace, ended with the cluster at the latest."""
        daemon = Daemon(self.node, self.folder / f"{name}.log", command, environ)
        self.daemons[name] = daemon
        self._closing.callback(daemon.stop)
        return daemon

    def _control_plane(self) -> None:
        folder, program = self.folder, self._program
        ranges = f"{SERVICES},{SERVICES6}" if self.dual else SERVICES
        gates = [f"--feature-gates={DUAL_STACK}"] if self.dual else []
        etcd, config = "http://127.0.0.1:2379", f"--kubeconfig={folder / 'kubeconfig'}"
        self.start(
            "etcd",
            "etcd",
            f"--data-dir={folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            "--listen-peer-urls=http://127.0.0.1:2380",
        )
        self.start(
            "kube-apiserver",
            program("kube-apiserver"),
            f"--etcd-servers={etcd}",
            f"--service-cluster-ip-range={ranges}",
            f"--token-auth-file={folder / 'tokens'}",
            "--authorization-mode=AlwaysAllow",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'key'}",
            f"--service-account-signing-key-file={folder / 'key'}",
            "--disable-admission-plugins=ServiceAccount",
            "--kubelet-preferred-address-types=InternalIP",
            f"--advertise-address={Node.ADDRESS}",
            f"--cert-dir={folder / 'pki'}",
            "--allow-privileged=true",
            *gates,
        )
        assert eventually(self.api.ready, 90, 0.2), f"the API server does not answer: {self.said}"
        self.start(
            "kube-controller-manager",
            program("kube-controller-manager"),
            config,
            f"--service-account-private-key-file={folder / 'key'}",
            "--leader-elect=false",
            *gates,
        )
        self.start("kube-scheduler", program("kube-scheduler"), config, "--leader-elect=false", *gates)

    def _program(self, name: str) -> str:
        return str(self.programs / name)

    def _kubelet(self) -> list[str]:
        return [
            self._program("kubelet"),
            f"--config={self.folder / 'kubelet.yaml'}",
            f"--kubeconfig={self.folder / 'kubeconfig'}",
            f"--root-dir={_made(self.folder / 'k')}",
            f"--hostname-override={NODE}",
            f"--node-ip={Node.ADDRESS}",
            *self.runtime.kubelet,
        ]

    def _kube_proxy(self) -> list[str]:
        gates = [f"--feature-gates={DUAL_STACK}"] if self.dual else []
        return [
            self._program("kube-proxy"),
            f"--kubeconfig={self.folder / 'kubeconfig'}",
            f"--hostname-override={NODE}",
            f"--proxy-mode={self._mode}",
            f"--cluster-cidr={PODS},{PODS6}" if self.dual else f"--cluster-cidr={PODS}",
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            "--iptables-min-sync-period=0s",
            *gates,
        ]

    # what a test asks

    def ready(self) -> bool:
        """Whether the node is ready for pods."""
        try:
            conditions = self.api.get("nodes", NODE)["status"].get("conditions", [])
        except (OSError, Refused):
            return False
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def pods(self, app: str = "") -> list[Object]:
        """The pods that are not about to end, of one app or of all."""
        listed = [pod for pod in self.api.list("pods") if not pod["metadata"].get("deletionTimestamp")]
        return [pod for pod in listed if not app or pod["metadata"].get("labels", {}).get("app") == app]

    def running(self, app: str = "") -> list[Object]:
        """Those of them that serve."""
        return [pod for pod in self.pods(app) if _is_ready(pod)]

    def wait_for(self, count: int, app: str = "", seconds: float = 180) -> list[Object]:
        """Wait until so many pods serve."""
        assert eventually(lambda: len(self.running(app)) == count, seconds, 0.1), (
            f"{len(self.running(app))} of {count} pods run: {self.events()}\n{self.said}"
        )
        return self.running(app)

    def events(self) -> list[str]:
        """The last things that Kubernetes reported."""
        return [f"{one.get('reason')}: {one.get('message')}" for one in self.api.list("events")][-20:]

    def netns(self, pod: Object) -> Netns:
        """The network namespace of a pod."""
        return Netns(f"/proc/{self.process(pod)}/ns/net")

    def process(self, pod: Object) -> int:
        """The process of a pod's first container."""
        identity = pod["status"]["containerStatuses"][0]["containerID"].split("://")[1]
        return self.runtime.process(identity)

    @property
    def client(self) -> list[str]:
        """The words that kubectl begins with."""
        config, cache = self.folder / "kubeconfig", self.folder / "kubectl"
        return [self._program("kubectl"), f"--kubeconfig={config}", f"--cache-dir={cache}"]

    def kubectl(self, *words: str) -> str:
        """The client program, for what is more than one request."""
        return self.node.run(*self.client, *words)

    def reboot(self) -> None:
        """Everything dies at once; what is in memory, links, rules and /run, is gone, what is on disk is not."""
        for daemon in reversed(list(self.daemons.values())):
            daemon.kill()
        self.runtime.power_off()
        for name in self.node.links():
            if name not in ("lo", "uplink"):
                self.node.run("ip", "link", "delete", name, check=False)
        self.node.run("nft", "flush", "ruleset")
        for name in self.node.links():
            self.node.sysctl(f"ipv4/conf/{name}/route_localnet", "0")
        for name in ("etcd", "kube-apiserver"):
            self.daemons[name].start()
        assert eventually(self.api.ready, 90, 0.2), f"the API server does not answer: {self.said}"
        self.runtime.start()
        for name in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
            self.daemons[name].start()
        assert eventually(self.ready, 120, 0.2), f"the node is not ready: {self.said}"

    def empty(self, seconds: float = 180) -> None:
        """Delete all that tests made, and wait until nothing of it is on the node."""
        for kind in ("deployments", "daemonsets", "services", "pods"):
            for each in self.api.list(kind):
                if each["metadata"]["name"] != "kubernetes":
                    self.api.delete(kind, each["metadata"]["name"], 0 if kind == "pods" else None)
        assert eventually(lambda: not self.api.list("pods"), seconds, 0.1), self.events()
        assert eventually(lambda: not self.left(), seconds, 0.2), f"{self.left()}\n{self.said}"

    def left(self) -> list[str]:
        """What pods have on the node: leases, links, elements and rules that name a network or a pod."""
        leases = [f"lease {address}" for address in self.node.leases("k8s")]
        links = [f"link {name}" for name in self.node.ports("cni0")]
        ours = [f"table {name}" for name in self.node.nft_tables() if "pycni" in name]
        rules = [line for line in self.node.iptables() if "CNI-" in line and '"k8s"' in line]
        return [*leases, *links, *ours, *rules]

    def close(self) -> None:
        """End everything, and take away what it left on the machine."""
        self._closing.close()

    def _put_back(self) -> None:
        unmount_below(self.folder)
        for name, text in self._before.items():
            with suppress(OSError):
                Path("/proc/sys", name).write_text(text)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
