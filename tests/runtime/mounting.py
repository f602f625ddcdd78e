"""Run in a mount namespace of its own by test_watch.py: a watched folder, and mounts over its file and over itself."""

import subprocess
import sys

from libcni.containerd import Watcher, new, with_all_conf, with_plugin_conf_dir
from node.deadline import eventually


def main(base: str) -> None:
    """Print what is loaded after each step."""
    folder = f"{base}/net.d"
    cni = new(with_plugin_conf_dir(folder))

    def becomes(name: str) -> None:
        wanted = [] if name == "empty" else [name]
        assert eventually(lambda: [one.config.name for one in cni.get_config().networks] == wanted, 5), name
        print(name)

    with Watcher(cni, folder, with_all_conf):
        becomes("below")
        subprocess.run(["mount", "--bind", f"{base}/over", f"{folder}/10.conflist"], check=True)
        becomes("over")
        subprocess.run(["umount", f"{folder}/10.conflist"], check=True)
        becomes("below")
        subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=True)
        becomes("empty")
        subprocess.run(["umount", "--lazy", folder], check=True)
        becomes("below")


main(sys.argv[1])
