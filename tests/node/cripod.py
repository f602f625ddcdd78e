"""A pod sandbox of a real containerd."""

from typing import Any

from .containerd import Containerd
from .namespace import Netns


class CriPod:
    """A pod sandbox that is running."""

    def __init__(self, containerd: Containerd, name: str, *ports: dict[str, Any], **annotations: str) -> None:
        self.cri = containerd.cri
        self.id = self.cri.run_pod(name, *ports, **annotations)
        self.addresses, netns = self.cri.pod_status(self.id)
        self.netns = Netns(netns)

    def remove(self, twice: bool = False) -> None:
        """Stop and remove it."""
        for _ in range(2 if twice else 1):
            self.cri.stop_pod(self.id)
        for _ in range(2 if twice else 1):
            self.cri.remove_pod(self.id)
