"""The machine, the date and the versions for a table."""

import os
import platform
import subprocess
import time
from pathlib import Path

PACKAGES = ("containernetworking-plugins", "netavark", "iptables")


def _version(package: str) -> str:
    command = ["dpkg-query", "-W", "-f", "${Version}", package]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f"{package} {found or 'not installed'}"


def described() -> str:
    """One line about the machine, the date and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    parts = [
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} processors",
        f"Linux {platform.release()}",
        f"Python {platform.python_version()}",
        *map(_version, PACKAGES),
        time.strftime("%Y-%m-%d", time.gmtime()),
    ]
    return "; ".join(parts) + "."
