"""A demonstration on a simulated node with a network outside, in two scenes. Everything is removed at the end.

Run it as root with `make demo`, which builds the plugins first. It uses its own namespaces and folders. The machine's
network, /opt/cni/bin and /etc/cni/net.d do not change.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import distribution
import pods
from stage import NODE_NAMES, build_node, clean, install


def main() -> None:
    """Run the demonstration. Clean up also after a failure."""
    if os.geteuid():
        sys.exit("demo: network namespaces need root: sudo make demo")
    folder = Path(tempfile.mkdtemp(prefix="pycni-demo-"))
    names = (*NODE_NAMES, *pods.PODS, *distribution.PODS)
    clean(names)
    try:
        install(folder)
        for scene in (pods, distribution):
            build_node(scene.PODS)
            scene.show(folder)
            clean(names)
    finally:
        clean(names)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
