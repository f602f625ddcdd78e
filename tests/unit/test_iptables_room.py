"""iptables as others left it: rules with any option, tables of iptables-legacy, and a lock that outlives its holder."""

import itertools
import os

import pytest

from cni import patience
from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import CNIError, Refused, TryAgainLater
from cni.go import chains, hostports, names
from cni.go.rules import Printed
from cni.kernel import exclusive, iptables, nftables, program
from cni.kernel.exclusive import Exclusive
from cni.kernel.nftables import Nftables, NftablesError
from cni.kernel.rtnl import Rtnl
from cni.kernel.transaction import INET, INET_SERVICE, SetType, Transaction
from cni.links import named_host_end
from cni.masquerade import Masquerade
from cni.result import Interface
from cni.site import Site
from cni_portmap import settings
from cni_portmap.go_ports import IptablesPorts
from cni_portmap.hostports import HostPorts
from cni_portmap.iptables_rules import HostPorts as WrittenPorts
from cni_portmap.published import Published
from cni_portmap.settings import Settings
from node.effects import beside, raising
from node.namespace import Netns

root = pytest.mark.root
ONE, SECOND = Attachment("net1", "c1", "eth0"), Attachment("net1", "c1", "eth1")
_numbers = itertools.count()


def silent(line: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    "words",
    [
        "-m set --match-set allowed src,dst",
        "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        "-m addrtype --limit-iface-in",
        "-m set ! --match-set allowed src",
    ],
)
def test_options_of_any_number_of_values(words: str) -> None:
    """None, one or two: what comes after them is read for what it is."""
    rule = Printed(f"-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 80,81 {words} -j CNI-DN-x")
    assert (rule.target, rule.protocol, rule.ports) == ("CNI-DN-x", "tcp", {80, 81})
    plain = Printed("-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 80,81 -j CNI-DN-x")
    assert rule.conditions and rule.conditions != plain.conditions


def test_a_rule_is_one_line() -> None:
    """Whatever reaches a script for iptables-restore cannot add another command to it."""
    with pytest.raises(CNIError, match="more than one line"):
        iptables.restore("iptables", ["-A X -j RETURN\n-F"])


@pytest.mark.parametrize("chain", ["RETURN\n-F", "two words", "-F", "!x", 'a"b', "c" * 29])
def test_a_foreign_chain_has_a_chains_name(chain: str) -> None:
    """It goes into a script of ours."""
    with pytest.raises(CNIError, match="no name of a chain"):
        settings.read(_Call({"name": "n", "externalSetMarkChain": chain}))  # type: ignore[arg-type]


class _Call:
    def __init__(self, config: dict[str, object]) -> None:
        self.config = {name: value for name, value in config.items() if value is not None}


@root
def test_a_legacy_table_without_its_programs_keeps_no_del_from_succeeding(
    empty: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's container used iptables-legacy in the node's namespace; the node itself has no such program."""
    if not program.find("iptables-legacy"):
        pytest.skip("iptables-legacy is not installed")
    empty.run("iptables-legacy", "-w", "-t", "nat", "-S")
    assert iptables.legacy(4) == "iptables-legacy"
    real = program.find
    monkeypatch.setattr(program, "find", lambda name: "" if "legacy" in name else real(name))
    assert iptables.legacy(4) == ""
    Masquerade(Site(ONE), [Prefix.parse("10.1.0.2/24")]).remove()
    part = chains.Part(names.ports_chain(ONE), names.ports_comment("net1", "c1"))
    hostports.remove(Nftables(), part, lambda translations: None)


@root
def test_looking_whether_a_set_holds_more_leaves_no_sockets(empty: Netns) -> None:
    """GC looks once for everything that it removes."""
    kernel = Nftables()
    change = Transaction(INET, "some")
    change.add_table()
    change.add_set("ports", SetType([INET_SERVICE]))
    for number in range(1, 3):
        change.add_element("ports", number.to_bytes(2, "big"))
    kernel.commit(change)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(60):
        assert kernel.holds(INET, "some", "ports", lambda found: found.key != b"\0\1")
    assert len(os.listdir("/proc/self/fd")) < before + 30


def test_a_ruleset_that_is_never_at_rest_is_code_11(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller may come again. The clock is the test's: pauses take no time."""
    now = [0.0]
    monkeypatch.setattr(patience, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience, "sleep", lambda seconds: now.append(now.pop() + seconds))

    def change() -> None:
        raise NftablesError("nftables: the start of the batch", 85)

    with pytest.raises(TryAgainLater):
        Nftables().repeatedly(change)
    assert now[0] >= 15


@root
def test_the_other_interfaces_masquerade_stays_where_no_address_is_known(
    empty: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go's chain is the container's: without prevResult the addresses of its other interfaces tell what stays."""
    first, second = Prefix.parse("10.1.0.2/24"), Prefix.parse("10.1.0.3/24")
    Masquerade(Site(ONE), [first], "iptables").make()
    Masquerade(Site(SECOND), [second], "iptables").make()
    beside(monkeypatch, first.address)
    Masquerade(Site(SECOND)).remove()
    beside(monkeypatch)
    rules = empty.run("iptables-save", "-t", "nat")
    assert "-s 10.1.0.2/32" in rules and "-s 10.1.0.3/32" not in rules and "MASQUERADE" in rules
    Masquerade(Site(ONE)).remove()
    assert "CNI-" not in empty.run("iptables-save", "-t", "nat")


# what a killed plugin leaves at work


def test_a_lock_lasts_as_long_as_what_was_started_under_it(tmp_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin is killed, the program that it has executed goes on: whoever comes next waits for that one too."""
    monkeypatch.setattr(exclusive, "_FOLDER", str(tmp_path))
    monkeypatch.setattr(exclusive, "_WAIT", 0.05)
    ours, theirs = os.pipe()
    plugin = os.fork()
    if not plugin:
        with Exclusive("x"):
            os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, ours, 0)])
            os._exit(0)
    os.close(ours)
    os.waitpid(plugin, 0)
    with pytest.raises(TryAgainLater, match="x.lock was held"), Exclusive("x"):
        raise AssertionError("it was not waited for")
    os.close(theirs)
    monkeypatch.setattr(exclusive, "_WAIT", 20.0)
    with Exclusive("x"):
        pass


def test_without_a_writable_folder_there_is_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for, and nothing fails."""
    monkeypatch.setattr(exclusive, "_FOLDER", "/proc/nowhere")
    with Exclusive("x"), Exclusive("x", make=False):
        pass


# portmap


def _said(port: int = 8080, **keys: object) -> Settings:
    mapping = {"hostPort": port, "containerPort": 80, "protocol": "tcp"}
    return Settings({"snat": False, "guardLocalnet": False, "runtimeConfig": {"portMappings": [mapping]}, **keys})


PREFIXES = [Prefix.parse("10.1.0.2/24"), Prefix.parse("2001:db8::2/64")]


@root
def test_a_refusal_after_the_first_family_is_taken_back(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no refusal any more that made nothing: the executor has to undo."""
    said = _said(backend="iptables")
    ports = IptablesPorts(Site(ONE), Published.wanted(said, PREFIXES), said)
    real = WrittenPorts._restore

    def restore(self: WrittenPorts, version: int, lines: list[str]) -> None:
        if version == 6:
            raise Refused("held by another", "", 101)
        real(self, version, lines)

    monkeypatch.setattr(WrittenPorts, "_restore", restore)
    with pytest.raises(CNIError) as caught:
        ports.make()
    assert not isinstance(caught.value, Refused) and caught.value.code == 101
    ports.remove()
    assert "CNI-" not in empty.run("iptables-save", "-t", "nat")


@root
def test_conditions_whose_last_pod_goes_just_now(empty: Netns, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their jumps were there when they were looked for and are gone when the ports are: they are made again."""
    first, second = (
        HostPorts(Site(who), Published.wanted(_said(port, conditionsV4=["ip saddr 10.0.0.0/8"]), PREFIXES[:1]))
        for who, port in ((ONE, 8080), (SECOND, 8081))
    )
    first.make()
    real = nftables.Nftables.repeatedly

    def repeatedly(kernel: nftables.Nftables, change: object) -> None:
        monkeypatch.setattr(nftables.Nftables, "repeatedly", real)
        first.remove()
        real(kernel, change)  # type: ignore[arg-type]

    monkeypatch.setattr(nftables.Nftables, "repeatedly", repeatedly)
    second.make()
    second.compare(raising)
    assert empty.run("nft", "list", "ruleset").count("ip saddr 10.0.0.0/8") == 2


@root
@pytest.mark.parametrize("name", ["x" * 16, "", "/run/vhost.sock", "a b"])
def test_a_result_may_name_what_is_no_link(empty: Netns, name: str) -> None:
    """A plugin's socket, say: then another tells who lives, or nothing does."""
    empty.ip("link add vethx type veth peer name y")
    rtnl = Rtnl()
    assert named_host_end(rtnl, [Interface(name), Interface("vethx")], ONE) == "vethx"
    assert named_host_end(rtnl, [Interface(name)], ONE) == ""
