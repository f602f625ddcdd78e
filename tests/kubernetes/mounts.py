"""Mounts that a container runtime or kubelet leaves below a folder."""

import subprocess
from pathlib import Path


def unmount_below(folder: Path) -> None:
    """Take them away, the last one first."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if (at := line.split()[4]).startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", at], stderr=subprocess.DEVNULL, timeout=30)
