"""A container runtime in thirty lines: run a command in its own network namespace, attached to a CNI network.

Usage: CNI_PATH=/opt/cni/bin python3 tiny_runtime.py NETWORK COMMAND [ARGUMENT…]
"""

import os
import subprocess
import sys

from libcni import CNIConfig, LibcniError, Options, RuntimeConf, load_network_conf


def main(network: str, *command: str) -> int:
    """Run the command with the network, and return its exit status."""
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
            cni.del_network_list(net, attachment)  # after a failed ADD too, as the specification requires
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: tiny_runtime.py NETWORK COMMAND [ARGUMENT…]")
    try:
        sys.exit(main(*sys.argv[1:]))
    except LibcniError as error:
        sys.exit(f"tiny_runtime: {error}")
