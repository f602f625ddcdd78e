"""Which routes of an interface go to which table, and which tables are free (pure)."""

from types import SimpleNamespace
from typing import Any

import pytest

from cni.address import Address, Prefix
from cni.result import IPConfig
from cni.tables import free, of_address, to_move

ONE, TWO, SIX = (IPConfig(Prefix.parse(text)) for text in ("10.1.2.5/24", "10.1.3.5/24", "fd00:1::5/64"))
IPS = (ONE, TWO, SIX)


def route(dst: str, gw: str = "", src: str = "", table: int = 254) -> Any:
    parsed = {name: Address.parse(text) if text else None for name, text in (("gw", gw), ("src", src))}
    return SimpleNamespace(dst=Prefix.parse(dst), table=table, **parsed)


@pytest.mark.parametrize(
    ("taken", "number", "found"),
    [
        ((), 2, [100, 101]),
        ((100, 102, 254, 7), 3, [101, 103, 104]),
        (range(100, 252), 3, [252, 256, 257]),
        ((), 0, []),
    ],
)
def test_free_tables(taken: Any, number: int, found: list[int]) -> None:
    """None that is in use, and none of the kernel's."""
    assert free(taken, number) == found


@pytest.mark.parametrize(
    ("each", "owners"),
    [
        (route("10.1.2.0/24", src="10.1.2.5"), [ONE]),
        (route("0.0.0.0/0", gw="10.1.3.1"), [TWO]),
        (route("10.9.0.0/16", gw="10.1.3.1", src="10.1.2.5"), [ONE, TWO]),
        (route("10.9.0.0/16"), [ONE, TWO]),
        (route("10.9.0.0/16", gw="192.0.2.1"), [ONE, TWO]),
        (route("fd00:1::/64"), [SIX]),
        (route("::/0", gw="fd00:1::1"), [SIX]),
        (route("::/0", gw="fe80::1"), [SIX]),
    ],
)
def test_a_route_goes_to_the_tables_of_its_address_or_of_all(each: Any, owners: list[IPConfig]) -> None:
    assert [ip for ip in IPS if of_address(ip, IPS, [each])] == owners


def test_what_moves_is_in_the_main_table_and_not_link_local() -> None:
    moved = [route("10.1.2.0/24"), route("::/0", gw="fe80::1")]
    assert to_move([*moved, route("fe80::/64"), route("10.1.2.0/24", table=100)]) == moved
