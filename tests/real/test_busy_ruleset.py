"""Beside somebody who changes the ruleset all the time: what does not concern an attachment does not make it fail."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from node.chain import Chain
from node.configuration import port
from node.deadline import eventually
from node.plugin import LIMIT
from node.published import wanted
from node.topology import Node

pytestmark = pytest.mark.real

PODS = 12
# Elements added and removed in a table of its own, so many a second (0: as fast as it can); it prints every hundredth.
WRITER = """
import sys
from itertools import count
from time import sleep

from cni.kernel.nftables import Nftables
from cni.kernel.transaction import INET, IPV4_ADDR, SetType, Transaction

kernel, pause = Nftables(), 1 / int(sys.argv[1]) if int(sys.argv[1]) else 0
transaction = Transaction(INET, "busy")
transaction.add_table()
transaction.add_set("some", SetType([IPV4_ADDR]))
kernel.commit(transaction)
for number in count():
    transaction = Transaction(INET, "busy")
    if number:
        transaction.delete_element("some", (number - 1).to_bytes(4, "big"))
    transaction.add_element("some", number.to_bytes(4, "big"))
    kernel.commit(transaction)
    if number % 100 == 0:
        print(number, flush=True)
    sleep(pause)
"""


@contextmanager
def _writer(node: Node, rate: int) -> Iterator[Callable[[], int]]:
    """Somebody at work in the node's ruleset; the answer gives how many changes there were."""
    with node.inside():
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(rate)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    try:
        assert process.stdout is not None and process.stdout.readline() == "0\n"

        def count() -> int:
            found = node.run("nft", "list", "set", "inet", "busy", "some").partition("elements = { ")[2].split(" ")[0]
            first, second, third, last = map(int, found.split("."))
            return first << 24 | second << 16 | third << 8 | last

        yield count
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate(timeout=LIMIT)


def _come_and_go(node: Node, chain: Chain) -> list[str]:
    """What failed of ADD, CHECK and DEL of one pod."""
    outcomes = [chain.try_add()]
    if outcomes[0].ok:
        outcomes += chain.check()
    outcomes += chain.delete()
    return [outcome.stdout for outcome in outcomes if not outcome.ok]


@pytest.mark.beyond_old_go("has neither this CHECK nor nftables")
@pytest.mark.parametrize("rate", [200, 0], ids=["two hundred a second", "full speed"])
def test_pods_come_and_go_beside_a_busy_writer(node: Node, rate: int) -> None:
    """Twelve at once, on a node that has no table of ours yet; all that is done is done, and then nothing is left."""
    below = {"ipMasq": True, "macspoofchk": True}
    with _writer(node, rate) as count:
        chains = [wanted(node, port(8000 + number), below=below) for number in range(PODS)]
        before = count()
        with ThreadPoolExecutor(PODS) as pool:
            faults = list(pool.map(lambda chain: _come_and_go(node, chain), chains))
        assert [fault for each in faults for fault in each] == []
        assert eventually(lambda: count() > before)
        assert {table for table in node.nft_tables() if "pycni" in table} == set()
