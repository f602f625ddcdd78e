"""static and Go's static: the same answers, and each accepts the other's in CHECK."""

import pytest

from node.plugin import GO, SUBJECT, Object
from node.stated import COUNTS, COUNTS_MORE, REFUSED, Stated
from node.topology import Node

pytestmark = pytest.mark.real


def call(node: Node, binaries: str, verb: str, stated: Stated, **keys: object) -> Object:
    conf = {**stated.conf, **keys}
    outcome = node.cni(
        "static", verb, conf, container="c", netns="/nowhere", env={"CNI_ARGS": stated.cni_args}, binaries=binaries
    )
    found: Object = outcome.result if outcome.ok and verb == "ADD" else {} if outcome.ok else outcome.error
    return found


def test_answers_as_go_does_and_each_checks_the_others(node: Node) -> None:
    """Every way to state an address, in one version of each family."""
    for stated, told in COUNTS.values():
        for version in ("0.4.0", "1.0.0"):
            go, ours = (call(node, maker, "ADD", stated, cniVersion=version) for maker in (GO, SUBJECT))
            if version == "1.0.0":  # Go's 1.1 line prints it there too
                assert go.pop("dns") == {}
            assert ours == go and len(go.get("ips", [])) == len(told)
            for maker, there in ((GO, ours), (SUBJECT, go)):
                assert call(node, maker, "CHECK", stated, cniVersion=version, prevResult=there) == {}


def test_what_go_refuses_is_refused_with_its_text(node: Node) -> None:
    for stated, text, _ in REFUSED.values():
        for maker in (GO, SUBJECT):
            assert text in call(node, maker, "ADD", stated)["msg"]


def test_go_leaves_a_known_gateway_out(node: Node) -> None:
    """The rows about what ours does more are right about Go's, whose CHECK accepts ours."""
    for stated, _, told in COUNTS_MORE.values():
        go, ours = (call(node, maker, "ADD", stated) for maker in (GO, SUBJECT))
        assert [f"{ip['address']} {ip.get('gateway', '')}".strip() for ip in go["ips"]] == told
        assert call(node, GO, "CHECK", stated, prevResult=ours) == {}
