"""The kernel's names for what its messages hold (IFLA_…, NFTA_…) stay in ``common/cni/kernel``.

Other rooms say what they mean with arguments of its functions.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "common/cni/kernel"
LINKS = r"\b_?(?:IFLA|IFA|RTA|RTAX|NDA|FRA|TCA|NLA|NLM)_\w+"
NFTABLES = r"\b_?(?:NFTA?|CTA)_\w+"


def named(pattern: str) -> set[str]:
    """The files outside the kernel's room whose code or prose has such a name."""
    rooms = (file for room in ("common", "plugins", "deploy", "tools") for file in (ROOT / room).rglob("*"))
    return {
        str(file.relative_to(ROOT))
        for file in rooms
        if file.is_file()
        and KERNEL not in file.parents
        and "__pycache__" not in file.parts
        and re.search(pattern, file.read_text(errors="replace"))
    }


def test_no_name_of_rtnetlink_is_outside_of_the_kernels_room() -> None:
    assert named(LINKS) == set()


def test_no_name_of_nftables_is_outside_of_the_kernels_room() -> None:
    assert named(NFTABLES) == set()


@pytest.mark.parametrize("text", ["IFLA_MTU", 'attrs.append(("NFTA_RULE_EXPRESSIONS", x))', "NFT_REG_1", "_RTA_DST"])
def test_such_a_name_is_seen(text: str) -> None:
    assert re.search(f"{LINKS}|{NFTABLES}", text) and not re.search(f"{LINKS}|{NFTABLES}", "nft.DROP, SWIFT_A, cni_RTA")
