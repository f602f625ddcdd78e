"""Debian's firewalld in a node's network namespace, on a system bus of its own."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from .deadline import eventually
from .topology import Node

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow send_type="method_call"/>
    <allow receive_type="method_call"/> <allow receive_type="method_return"/> <allow receive_type="error"/>
    <allow receive_type="signal"/> <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
  </policy>
</busconfig>
"""


class Firewalld:
    """A firewalld and its bus. Plugins find it by ``env``."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node, self.folder = node, folder
        (folder / "bus.conf").write_text(BUS.format(folder=folder))
        shutil.copytree("/etc/firewalld", folder / "etc", dirs_exist_ok=True)
        self.env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/bus"}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork")
        assert eventually((folder / "bus").exists)
        self.start()

    def start(self) -> None:
        """Start firewalld, and wait until it answers."""
        etc, log = self.folder / "etc", self.folder / "log"
        self._start("firewalld", "--nofork", "--nopid", "--system-config", str(etc), "--log-file", str(log))
        assert eventually(lambda: self("--state", check=False) == "running", 30), log.read_text()

    def _start(self, *command: str) -> None:
        with self.node.inside():
            made = subprocess.Popen(
                command, env=os.environ | self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        self._processes.append(made)

    def __call__(self, *arguments: str, check: bool = True) -> str:
        """firewall-cmd: its standard output."""
        with self.node.inside():
            done = subprocess.run(
                ["firewall-cmd", *arguments], env=os.environ | self.env, capture_output=True, text=True, timeout=60
            )
        assert not check or not done.returncode, done.stderr
        return done.stdout.strip()

    def sources(self, zone: str = "trusted") -> set[str]:
        """A zone's sources."""
        return set(self(f"--zone={zone}", "--list-sources").split())

    def stop(self) -> None:
        """End firewalld; its bus goes on."""
        self._end(self._processes.pop())

    def close(self) -> None:
        """End both."""
        while self._processes:
            self._end(self._processes.pop())

    @staticmethod
    def _end(process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
