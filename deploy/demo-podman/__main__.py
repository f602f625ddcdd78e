"""A demonstration: two containers of podman 5 on a CNI configuration list, a published port, names.

Run it as root with `make demo-podman`, which builds the driver and finds a podman 5. It uses a simulated node, storage of
its own and folders of its own; everything is removed at the end.
"""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from node.machine import set_apart  # noqa: E402
from node.netavark import Netavark, cached, temporary, version, web  # noqa: E402
from node.podman import IMAGE  # noqa: E402
from node.topology import Node  # noqa: E402

NAMES = ("demo-a", "demo-b")


def show(text: str) -> None:
    """Print what comes next, or what a command has printed."""
    print(text, flush=True)


def command(podman: Netavark, *words: str) -> str:
    """Run podman, and show the command and its output."""
    show(f"\n$ podman {' '.join(words)}")
    said = podman(*words)
    show(said.rstrip())
    return said


def names_are_served() -> bool:
    """Whether aardvark-dns is installed."""
    return any(Path(folder, "aardvark-dns").exists() for folder in ("/usr/lib/podman", "/usr/libexec/podman"))


def scene(podman: Netavark) -> None:
    """The commands."""
    node = podman.node
    podman.add_network(web(node, "mynet"))
    show(f"The list: {(podman.folder / 'lists/10-mynet.conflist').read_text()}")
    command(podman, "network", "create", "-d", "cni", *podman.options("mynet"), "web")
    command(podman, "network", "inspect", "web")
    serving = ("--entrypoint", "/bin/busybox", IMAGE, "httpd", "-f", "-h", "/etc", "-p", "80")
    podman.containers += NAMES
    command(podman, "run", "-d", "--name", NAMES[0], "--network", "web", "-p", "8080:80", *serving)
    command(podman, "run", "-d", "--name", NAMES[1], "--network", "web:alias=bob", IMAGE)
    command(podman, "ps", "--format", "{{.Names}}  {{.Networks}}  {{.Ports}}")
    show(f"\nFrom outside of the node, http://{node.ADDRESS}:8080/passwd:")
    show(node.outside.run("busybox", "wget", "-T", "10", "-qO-", f"http://{node.ADDRESS}:8080/passwd").rstrip())
    if names_are_served():
        command(podman, "exec", NAMES[1], "busybox", "wget", "-T", "10", "-qO-", f"http://{NAMES[0]}/passwd")
    command(podman, "rm", "--force", "--time", "0", *NAMES)
    command(podman, "network", "rm", "web")
    if cached() or node.leases("mynet"):
        sys.exit("demo: something is left")
    show("\nNothing is left: no attachment, no lease, no rule.")


def main() -> None:
    """Run the demonstration. Clean up also after a failure."""
    if os.geteuid():
        sys.exit("demo: network namespaces need root: sudo make demo-podman")
    if version() < (5,):
        sys.exit("demo: this needs podman 5 or later; `make demo-podman` finds one")
    set_apart()
    with ExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pycni-demo-")))
        node = Node(data)
        stack.callback(node.close)
        folder = Path(stack.enter_context(temporary()))
        scene(stack.enter_context(Netavark(node, folder)))


if __name__ == "__main__":
    main()
