#!/usr/bin/python3
"""One call handed over to the fork server, beside the same call cold and Debian's Go plugins: medians and ratios.

Run as root after `make dist`: ``bench/warm.py [RUNS]``. Bridge (isGateway, ipMasq, host-local) on three pretended nodes,
taking turns, each with ten pods beside the one that comes and goes. A fork server of its own is started and ended.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cold import GO, OURS, ip, setns

SIDES = {"warm": OURS, "cold": OURS, "Go": GO}
Object = dict[str, Any]


def timed(side: str, verb: str, conf: Object, pod: str, socket: str) -> float:
    """Milliseconds of one call as a whole process, on that side's node."""
    env = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod,
        "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": SIDES[side],
        "CNI_FORKSERVER": socket if side == "warm" else "",
    }
    stdin = json.dumps(conf).encode()
    home, there = os.open("/proc/self/ns/net", os.O_RDONLY), os.open(f"/run/netns/pycni-bench-{side}", os.O_RDONLY)
    setns(there)
    try:
        began = time.perf_counter()
        done = subprocess.run([f"{SIDES[side]}/bridge"], input=stdin, env=env, capture_output=True, check=False)
        took = time.perf_counter() - began
    finally:
        setns(home)
        os.close(home)
        os.close(there)
    if done.returncode:
        sys.exit(f"{side} {verb}: {done.stdout.decode()}{done.stderr.decode()}")
    return took * 1000


def measure(runs: int, store: str, socket: str) -> dict[str, dict[str, list[float]]]:
    """Milliseconds by verb, then by side; the sides take turns."""
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(-10, runs):
        for side in SIDES:
            conf = {
                "cniVersion": "1.0.0",
                "name": "bench",
                "type": "bridge",
                "bridge": "br0",
                "isGateway": True,
                "ipMasq": True,
                "ipam": {"type": "host-local", "dataDir": f"{store}/{side}", "ranges": [[{"subnet": "10.99.0.0/16"}]]},
            }
            pod = f"pycni-bench-{side}-pod{number}"
            ip("netns", "add", pod)
            for verb in ("ADD", "DEL") if number >= 0 else ("ADD",):
                took = timed(side, verb, conf, pod, socket)
                if number >= 0:
                    found.setdefault(verb, {}).setdefault(side, []).append(took)
            if number >= 0:
                ip("netns", "delete", pod)
    return found


def main() -> None:
    """Print one table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 41
    for side in SIDES:
        ip("netns", "add", f"pycni-bench-{side}")
    server = None
    try:
        with tempfile.TemporaryDirectory() as store:
            socket = f"{store}/server/socket"
            server = subprocess.Popen([f"{OURS}/cni-forkserver", "--foreground", socket])
            while not Path(socket).exists():
                time.sleep(0.01)
            found = measure(runs, store, socket)
    finally:
        if server:
            server.terminate()
            server.wait()
        for side in SIDES:
            ip("netns", "delete", f"pycni-bench-{side}")
            for number in range(-10, 0):
                ip("netns", "delete", f"pycni-bench-{side}-pod{number}")
    print(f"{'call':10}" + "".join(f"{f'{side}, ms':>10}" for side in SIDES) + f"{'warm/Go':>10}{'cold/Go':>10}")
    for verb, sides in found.items():
        middle = {side: statistics.median(sides[side]) for side in SIDES}
        times = "".join(f"{middle[side]:10.1f}" for side in SIDES)
        print(f"{verb:10}{times}{middle['warm'] / middle['Go']:10.2f}{middle['cold'] / middle['Go']:10.2f}")


if __name__ == "__main__":
    main()
