"""``ctr run --cni`` of a real containerd, with the plugins under test."""

from .containerd import Containerd

# ctr knows only /etc/cni/net.d and /opt/cni/bin, and Debian's also /usr/lib/cni: in a mount namespace of its own these
# are ours, and the last one is empty.
WITH_FOLDERS = """
import os, subprocess, sys
etc, upper, bin_dir, conf_dir, *command = sys.argv[1:]
def mount(*arguments): subprocess.run(["mount", *arguments], check=True)
mount("-t", "tmpfs", "tmpfs", "/opt")
os.makedirs("/opt/cni/bin")
if os.path.isdir("/usr/lib/cni"): mount("-t", "tmpfs", "tmpfs", "/usr/lib/cni")
mount("--bind", bin_dir, "/opt/cni/bin")
mount("-t", "tmpfs", "tmpfs", upper)
os.makedirs(upper + "/upper"); os.makedirs(upper + "/work")
mount("-t", "overlay", "-o", f"lowerdir={etc},upperdir={upper}/upper,workdir={upper}/work", "overlay", etc)
os.makedirs("/etc/cni/net.d", exist_ok=True)
mount("--bind", conf_dir, "/etc/cni/net.d")
os.execvp(command[0], command)
"""


class Ctr:
    """``ctr run --cni`` with our folders where it looks for plugins and networks."""

    def __init__(self, containerd: Containerd) -> None:
        self._containerd = containerd
        upper = containerd.folder / "upper"
        upper.mkdir()
        folders = ("/etc", str(upper), str(containerd.bin_dir), str(containerd.conf_dir))
        self._prefix = ("unshare", "--mount", "/usr/bin/python3", "-I", "-c", WITH_FOLDERS, *folders)

    def run(self, name: str, script: str) -> str:
        """Run a container to its end; what it said."""
        return self._containerd.run(name, script, self._prefix)
