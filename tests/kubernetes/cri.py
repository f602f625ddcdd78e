"""Debian's containerd as kubelet uses it over the CRI."""

import shutil

from node.containerd import Containerd


class CriContainerd(Containerd):
    """A containerd, and the words by which kubelet uses it."""

    @property
    def kubelet(self) -> list[str]:
        """Kubelet's words."""
        return [
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self.socket}",
            f"--image-service-endpoint=unix://{self.socket}",
        ]

    def process(self, container: str) -> int:
        """The process of a container."""
        for line in self.ctr("-n", "k8s.io", "tasks", "list").splitlines()[1:]:
            name, process, *_ = line.split()
            if name == container:
                return int(process)
        raise AssertionError(f"no task of container {container}")

    def sandboxes(self) -> list[str]:
        """The pods' sandboxes, running or not."""
        labelled = 'labels."io.cri-containerd.kind"==sandbox'
        return self.ctr("-n", "k8s.io", "containers", "list", "-q", labelled).split()

    def power_off(self) -> None:
        """What a power cut leaves: no process, no mount, no state in memory."""
        self.kill()
        self.clear()
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        shutil.rmtree(self.folder / "runc", ignore_errors=True)
