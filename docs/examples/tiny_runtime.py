"""A container runtime of thirty lines: a process in a network namespace of its own, attached to a CNI network.

Usage: CNI_PATH=/opt/cni/bin python3 tiny_runtime.py NETWORK COMMAND [ARGUMENT…]
"""

import os
import subprocess
import sys

from libcni import CNIConfig, LibcniError, Options, RuntimeConf, load_network_conf


def main(network: str, *command: str) -> int:
    """Run the command with the network; the answer is its exit status."""
    name = f"tiny-{os.getpid()}"
    net = load_network_conf(os.environ.get("NETCONFPATH", "/etc/cni/net.d"), network)
    cni = CNIConfig(os.environ.get("CNI_PATH", "/opt/cni/bin").split(":"), options=Options(timeout=60))
    attachment = RuntimeConf(container_id=name, netns=f"/run/netns/{name}", if_name="eth0")
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        try:
            result = cni.add_network_list(net, attachment)
            print(f"{name} has {', '.join(str(ip.address) for ip in result.ips)}", file=sys.stderr)
            return subprocess.run(["ip", "netns", "exec", name, *command]).returncode
        finally:
            cni.del_network_list(net, attachment)  # also after an ADD that failed: the specification asks for it
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: tiny_runtime.py NETWORK COMMAND [ARGUMENT…]")
    try:
        sys.exit(main(*sys.argv[1:]))
    except LibcniError as error:
        sys.exit(f"tiny_runtime: {error}")
