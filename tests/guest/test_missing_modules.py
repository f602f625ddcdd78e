"""A kernel without a part of nftables, which is a module in Debian's: iptables is taken, and messages name the option."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.configuration import port
from node.ports import answers
from node.published import publish, wanted
from node.topology import Node

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(os.uname().nodename != "guest", reason="unloads the kernel's modules: make test-guest"),
]

HIDDEN = Path("/etc/modprobe.d/pycni-hidden.conf")
PATIENCE = 15.0


@pytest.fixture
def hide() -> Iterator[Callable[..., None]]:
    """A function that unloads modules, and keeps the kernel from loading them again."""

    def at(*modules: str) -> None:
        shutil.rmtree("/run/cni/pycni/nf_tables", ignore_errors=True)  # what was found out before
        HIDDEN.write_text("".join(f"install {module} /bin/false\n" for module in modules))
        subprocess.run(["modprobe", "-r", *modules], check=True, capture_output=True, timeout=60)

    try:
        yield at
    finally:
        HIDDEN.unlink(missing_ok=True)


def test_missing_modules_are_told_and_iptables_taken(node: Node, hide: Callable[..., None]) -> None:
    """Asked for nftables ADD fails, naming the options; asked for nothing iptables-legacy has it, and gives it back."""
    hide("nft_fib_inet", "nft_masq", "nft_chain_nat")
    options = ["CONFIG_NFT_NAT", "CONFIG_NFT_MASQ"]
    below: dict[str, object] = {"ipMasq": True}
    for asked, keys, named in (
        ({"ipMasqBackend": "nftables"}, {}, options),
        ({}, {"backend": "nftables"}, [*options, "CONFIG_NFT_FIB_INET"]),
    ):
        refused = wanted(node, port(8080), below=below | asked, **keys)
        error = refused.try_add().error
        assert [option for option in named if option not in error["msg"]] == []
        refused.remove()
    chain = publish(node, port(8081), below=below)
    assert all(outcome.ok for outcome in chain.check())
    assert answers("tcp", chain.pod, 80, node.outside, node.ADDRESS, 8081, seconds=PATIENCE)
    assert "CNI-DN-" in node.run("iptables-legacy-save")
    chain.remove()
    assert "CNI-" not in node.run("iptables-legacy-save")
