"""The calls of the program: netavark's, and GC."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from cni import wire
from cni_netavark.documents import Attached, Network
from cni_netavark.driver import Driver, explained
from cni_netavark.places import Places
from cni_netavark.refusal import Refused
from libcni import CNIConfig, CNIError, LibcniError


def _say(line: str) -> None:
    try:
        sys.stderr.write(f"cni: {line}\n")
    except OSError:
        pass  # standard error is closed


def _read(document: bytes) -> Any:
    try:
        return wire.decode(document)
    except CNIError as error:
        raise Refused(f"podman sent no JSON: {error.msg.rpartition('config: ')[2]}") from None


def _answer(argv: Sequence[str], document: bytes) -> Any:
    """The document to print; None: nothing. Raises ``Refused``."""
    match list(argv):
        case ["create"]:
            network = Network.parse(_read(document))
            return _of(network, lambda driver: driver.create(network))
        case ["setup", netns]:
            attached = Attached.parse(_read(document))
            return _of(attached.network, lambda driver: driver.setup(attached, netns))
        case ["teardown", netns]:
            attached = Attached.parse(_read(document))
            try:
                _of(attached.network, lambda driver: driver.teardown(attached, netns))
            except Refused as error:  # podman does not remove a container whose teardown fails
                _say(f"{error}; `cni gc` tries again when the container is gone")
            return None
    raise Refused(f"there is no call {' '.join(argv)!r}")


def _of(network: Network, work: Callable[[Driver], Any]) -> Any:
    """Work for a network: errors begin with its name. Raises ``Refused``."""
    try:
        return work(Driver.of(network, _say))
    except (Refused, LibcniError, CNIError, OSError) as error:
        raise Refused(explained(error, network)) from None


def _containers(program: str) -> list[str]:
    """The ids of the containers that podman has, running or not."""
    return _run([program, "ps", "--all", "--quiet", "--no-trunc", "--external"]).split()


def _run(command: list[str]) -> str:
    import subprocess

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(command[:3])} failed, so nothing is removed: {done.stderr.strip()}")
    return done.stdout


def _networks(program: str) -> list[Network]:
    """podman's networks of this driver."""
    names = _run([program, "network", "ls", "--filter", "driver=cni", "--quiet"]).split()
    return (
        [Network.parse(found) for found in wire.decode(_run([program, "network", "inspect", *names]).encode())]
        if names
        else []
    )


def _places(networks: Sequence[Network]) -> Places:
    """The usual places, and the folders of plugins that a network names, before these."""
    named = [folder for network in networks for folder in Places.of(network.options).plugins]
    usual = Places()
    return replace(usual, plugins=tuple(dict.fromkeys([*named, *usual.plugins])))


def _collect(argv: Sequence[str]) -> int:
    program = argv[1] if argv else "podman"
    podmans = _networks(program)
    driver = Driver(_places(podmans), _say)
    others = CNIConfig([]).get_cached_attachments
    networks = driver.collect(driver.lists(podmans), lambda: _containers(program), others)
    _say(
        f"looked at {', '.join(networks)}" if networks else "podman has no networks of this driver, and no attachments"
    )
    return 0


def main(argv: list[str], document: bytes) -> int:
    """Serve one call with the document of standard input, and return the exit status."""
    os.umask(0o022)
    try:
        if argv[:1] == ["gc"]:
            return _collect(argv[1:])
        answer = _answer(argv, document)
    except (Refused, LibcniError, CNIError, OSError) as error:
        if argv[:1] == ["gc"]:
            _say(explained(error))
        else:
            print(wire.encode({"error": explained(error)}))
        return 1
    if answer is not None:
        print(wire.encode(answer))
    return 0
