"""dhcp as an IPAM plugin: what is asked for, what comes of the answers, and what goes wrong, with Go's and with ours."""

from collections.abc import Callable

import pytest

from node.dhcp import HASTY, Daemon, Dnsmasq, Kea, Site, at_once
from node.dhcpmessage import (
    CLASSLESS_ROUTES,
    CLIENT_ID,
    DNS,
    DOMAIN,
    HOST_NAME,
    KIND,
    LEASE_TIME,
    OVERLOAD,
    REQUEST_LIST,
    REQUESTED_ADDRESS,
    ROUTER,
    SEARCH,
    SERVER_ID,
    STATIC_ROUTES,
    SUBNET_MASK,
    Message,
    Packet,
    addresses,
    classless,
    names,
    packed,
)
from node.dhcpserver import Answer, Server
from node.dhcpsite import EACH_MAKE
from node.dhcpsite import site as site
from node.namespace import Object
from node.plugin import GO

pytestmark = pytest.mark.real

VERSIONS = {"go": ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0")}
VERSIONS["ours"] = (*VERSIONS["go"], "1.1.0")
# Nobody answers: how long that takes to be said is for the flags.
BRIEF = ("-timeout", "200ms", "-resendmax", "400ms", "-resendtimeout", "3s")
VENDOR_CLASS, USER_CLASS = 60, 77


@EACH_MAKE
def test_an_address_for_each_version(site: Site, make: str) -> None:
    """dnsmasq's first one; DEL gives it back, also thrice at once. Two interfaces of a pod have two."""
    served = Dnsmasq(site.segment, site.folder)
    with Daemon(site.node, site.folder, make) as daemon:
        for version in VERSIONS[make]:
            client = site.client(daemon, version=version)
            result = client.add().result
            ip = result["ip4"] if version < "0.3.0" else result["ips"][0]
            assert (ip["ip" if "ip" in ip else "address"], ip["gateway"]) == ("10.7.0.5/24", "10.7.0.1")
            assert (result["routes"] if "routes" in result else ip["routes"]) == [
                {"dst": "0.0.0.0/0", "gw": "10.7.0.1"}
            ]
            assert served.leases_become("10.7.0.5")
            if version >= "0.4.0":
                assert client.check().ok
            assert all(outcome.ok for outcome in at_once([client.delete] * 3))
            assert served.leases_become() and client.delete().ok
        one = site.client(daemon)
        site.segment.attach(one.pod, "eth1")
        two = site.client(daemon, one.pod, ifname="eth1")
        assert one.add().ok and two.add().ok
        assert (one.addresses, two.addresses) == (["10.7.0.5"], ["10.7.0.6"])


@EACH_MAKE
def test_a_lease_of_kea(site: Site, make: str) -> None:
    """Which answers on raw sockets, and says in its journal that the address was given back."""
    served = Kea(site.segment, site.folder)
    with Daemon(site.node, site.folder, make) as daemon:
        one, two = site.client(daemon), site.client(daemon)
        assert one.add().ok and two.add().ok
        assert served.leases_become(one.address, two.address) and one.address != two.address
        assert one.delete().ok
        assert served.leases_become(two.address)


@pytest.mark.beyond_old_go("RELEASE leaves from 0.0.0.0, which servers do not hear")
def test_what_is_sent(site: Site) -> None:
    """From where to where; an id of the attachment; names and numbers that the configuration gives."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        assert client.delete().ok
        server.wait("RELEASE")
        release = server.wait_heard("RELEASE")
        discover, request, release = server.seen
        assert [packet.what for packet in server.seen] == ["DISCOVER", "REQUEST selecting", "RELEASE"]
        own = b"\0" + f"{client.pod.container}/net1/eth0".encode()
        for packet in (discover, request, release):
            assert packet.message.get(CLIENT_ID) == own and packet.message.chaddr == client.hardware
            assert packet.ports == (68, 67)
        for packet in (discover, request):
            assert packet.hosts == ("0.0.0.0", "255.255.255.255")
            assert packet.macs == (client.mac, "ff:ff:ff:ff:ff:ff")
            assert set(packet.message.get(REQUEST_LIST) or b"") == {1, 3}
        assert request.message.address(REQUESTED_ADDRESS) == client.address
        assert request.message.address(SERVER_ID) == server.address
        assert release.hosts == (client.address, server.address)
        assert release.message.ciaddr == client.address and release.message.address(SERVER_ID) == server.address
        assert server.leases == {}


# Sent options by the entries of ``provide`` and by CNI_ARGS
PROVIDED: dict[str, tuple[list[Object], str, dict[int, bytes]]] = {
    "names": (
        [
            {"option": "host-name", "value": "web"},
            {"option": "vendor-class-identifier", "value": "v"},
            {"option": "user-class", "value": "u"},
        ],
        "",
        {HOST_NAME: b"web", VENDOR_CLASS: b"v", USER_CLASS: b"u"},
    ),
    "numbers": (
        [{"option": "12", "value": "web"}, {"option": "224", "value": "x" * 255}],
        "",
        {HOST_NAME: b"web", 224: b"x" * 255},
    ),
    "args": (
        [
            {"option": "12", "value": "no", "fromArg": "K8S_POD_NAME"},
            {"option": "60", "value": "yes", "fromArg": "ABSENT"},
            {"option": "77", "fromArg": "ABSENT"},
        ],
        "torn;IgnoreUnknown;K8S_POD_NAME=a=b;UNKNOWN=1",
        {HOST_NAME: b"a=b", VENDOR_CLASS: b"yes"},
    ),
    "identifier": ([{"option": "dhcp-client-identifier", "value": "me"}], "", {CLIENT_ID: b"me"}),
}


@EACH_MAKE
def test_provide(site: Site, make: str) -> None:
    """In DISCOVER and REQUEST; what the configuration does not give is not sent."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, make) as daemon:
        for number, (entries, args, wanted) in enumerate(PROVIDED.values(), 1):
            client = site.client(daemon, args=args, provide=entries)
            assert client.add().ok
            expected = {CLIENT_ID: b"\0" + f"{client.pod.container}/net1/eth0".encode()} | wanted
            sent = [packet.message for packet in server.seen if packet.message.chaddr == client.hardware]
            assert [message.kind for message in sent] == ["DISCOVER", "REQUEST"]
            for message in sent:
                given = {code: message.get(code) for code in (HOST_NAME, VENDOR_CLASS, USER_CLASS, 224, CLIENT_ID)}
                assert {code: value for code, value in given.items() if value is not None} == expected
            assert client.delete().ok
            if make == "ours":  # Go's RELEASE has another id than the lease
                assert server.wait("RELEASE", number).message.get(CLIENT_ID) == expected[CLIENT_ID]


@EACH_MAKE
def test_request(site: Site, make: str) -> None:
    """Names and numbers, with the usual ones and without."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, make) as daemon:
        for request, wanted in (
            ([{"option": "host-name"}, {"option": "42"}], {1, 3, 12, 42}),
            ([{"option": "subnet-mask"}, {"option": "26", "skipDefault": True}], {1, 26}),
            ([{"skipDefault": True, "option": "3"}, {"option": "routers"}], {3}),
            ([{"skipDefault": True}, {"option": "3"}], {3}),
        )[: 3 if make == "go" else None]:  # Go's 1.1 line wants an option in each
            before = len(server.seen)
            assert site.client(daemon, request=request).add().ok
            for packet in server.seen[before:]:
                assert set(packet.message.get(REQUEST_LIST) or b"") == wanted


@pytest.mark.beyond_old_go("it has no priority")
def test_priority(site: Site) -> None:
    """Of every route of the result."""
    site.segment.server().options[CLASSLESS_ROUTES] = classless(("10.9.0.0/16", "10.7.0.2"), ("0.0.0.0/0", "10.7.0.1"))
    with Daemon(site.node, site.folder) as daemon:
        routes = site.client(daemon, version="1.1.0", priority=7).add().result["routes"]
        assert [(route["dst"], route["priority"]) for route in routes] == [("10.9.0.0/16", 7), ("0.0.0.0/0", 7)]


DEFAULT = "0.0.0.0/0 10.7.0.1"
MANY = [(f"10.{100 + number}.0.0/16", "10.7.0.2") for number in range(80)]
LONG = [f"{'x' * 50}{number}.example" for number in range(6)]
# What a server's options become; what both makes do alike
ALIKE: dict[str, tuple[dict[int, bytes | None], Object]] = {
    "router": ({}, {"gateway": "10.7.0.1", "routes": [DEFAULT]}),
    "no router": ({ROUTER: None}, {"gateway": None, "routes": []}),
    "static routes": (
        {STATIC_ROUTES: addresses("10.0.0.0", "10.7.0.2", "192.168.5.0", "10.7.0.3")},
        {"gateway": "10.7.0.1", "routes": ["10.0.0.0/8 10.7.0.2", "192.168.5.0/24 10.7.0.3", DEFAULT]},
    ),
    "torn static routes": (
        {STATIC_ROUTES: addresses("10.0.0.0", "10.7.0.2") + b"\1\2"},
        {"gateway": "10.7.0.1", "routes": ["10.0.0.0/8 10.7.0.2", DEFAULT]},
    ),
    "classless routes win": (
        {
            CLASSLESS_ROUTES: classless(("10.9.0.0/17", "10.7.0.2"), ("10.8.0.1/32", "10.7.0.3")),
            STATIC_ROUTES: addresses("10.0.0.0", "10.7.0.2"),
        },
        {"gateway": "10.7.0.1", "routes": ["10.9.0.0/17 10.7.0.2", "10.8.0.1/32 10.7.0.3"]},
    ),
    "malformed classless routes": ({CLASSLESS_ROUTES: b"\x21\1\2"}, {"gateway": "10.7.0.1", "routes": [DEFAULT]}),
}
# What Go's leaves out or does not understand
BETTER: dict[str, tuple[dict[int, bytes | None], Object]] = {
    "two routers": ({ROUTER: addresses("10.7.0.1", "10.7.0.9")}, {"gateway": "10.7.0.1", "routes": [DEFAULT]}),
    "a long option": ({CLASSLESS_ROUTES: classless(*MANY)}, {"routes": [f"{dst} {gw}" for dst, gw in MANY]}),
    "names": (
        {DNS: addresses("10.7.0.1", "10.7.0.2"), DOMAIN: b"a.example", SEARCH: names("b.example", "c.d.example")},
        {
            "dns": {
                "nameservers": ["10.7.0.1", "10.7.0.2"],
                "domain": "a.example",
                "search": ["b.example", "c.d.example"],
            }
        },
    ),
    "compressed names": (
        {SEARCH: b"\3eng\5apple\3com\0\x09marketing\xc0\x04"},
        {"dns": {"search": ["eng.apple.com", "marketing.apple.com"]}},
    ),
    "names in two pieces": ({SEARCH: names(*LONG)}, {"dns": {"search": LONG}}),
    "no lease time": ({LEASE_TIME: None}, {"gateway": "10.7.0.1"}),
}


def _holds(result: Object, wanted: Object) -> None:
    (ip,) = result["ips"]
    assert ip["address"].endswith("/24")
    routes = [f"{route['dst']} {route['gw']}" for route in result.get("routes", [])]
    found = {"gateway": ip.get("gateway"), "routes": routes, "dns": result.get("dns", {})}
    assert {key: found[key] for key in wanted} == wanted


def _become(site: Site, make: str, cases: dict[str, tuple[dict[int, bytes | None], Object]]) -> None:
    """Each case has its own client; the server has the options of the case, and its usual ones."""
    server = site.segment.server()
    usual = dict(server.options)
    with Daemon(site.node, site.folder, make) as daemon:
        for options, wanted in cases.values():
            server.options = usual | options
            _holds(site.client(daemon).add().result, wanted)


@EACH_MAKE
def test_options(site: Site, make: str) -> None:
    """Of the answer, and what they become."""
    _become(site, make, ALIKE)


@pytest.mark.beyond_old_go("left out, or an error")
def test_options_of_more_kinds(site: Site) -> None:
    """DNS settings, options in pieces, several routers."""
    _become(site, "ours", BETTER)


@pytest.mark.beyond_old_go("it knows no option overload")
def test_options_in_the_fields_for_names_of_files(site: Site) -> None:
    """Option 52: in ``file``, in ``sname``, in both."""
    server = site.segment.server()
    with Daemon(site.node, site.folder) as daemon:
        for where in (1, 2, 3):
            server.edit = lambda request, answer, where=where: overloaded(answer, where)
            _holds(site.client(daemon).add().result, {"gateway": "10.7.0.1", "routes": [DEFAULT]})


def overloaded(answer: Message, where: int) -> Message:
    """The mask and the router are in ``file`` (1), in ``sname`` (2), or one is in each (3)."""
    answer.set(ROUTER, None).set(SUBNET_MASK, None).set(OVERLOAD, bytes([where]))
    first, second = [(SUBNET_MASK, b"\xff\xff\xff\0")], [(ROUTER, addresses("10.7.0.1"))]
    answer.file = packed(first + second if where == 1 else first if where == 3 else []) + b"\xff" * (where != 2)
    answer.sname = packed(first + second if where == 2 else second if where == 3 else []) + b"\xff" * (where != 1)
    return answer


@EACH_MAKE
def test_answers_to_others_are_not_ours(site: Site, make: str) -> None:
    """Another transaction, another MAC, a request, what is torn, what is no DHCP: none of it counts."""

    def noisy(request: Packet, answer: Message) -> list[Answer]:
        right = answer.written()
        wrong = Message.read(right)
        wrong.yiaddr = "10.7.0.99"
        several: list[Answer] = [b"", b"\2", right[:200], b"\xff" * 300]
        if make == "ours":  # Go's 1.1 line takes these
            several += [right[:245], right[:240] + b"\x35", right[:240] + b"\x35\1\5\x36\xff\1"]
        # Go's 1.1 line looks at the transaction alone
        for name, value in (("xid", 1), ("chaddr", b"\2\0\0\0\0\1"), ("op", 1))[: 1 if make == "go" else None]:
            other = Message.read(wrong.written())
            setattr(other, name, value)
            several.append(other.written())
        return [*several, answer]

    site.segment.server().edit = noisy
    with Daemon(site.node, site.folder, make) as daemon:
        assert site.client(daemon).add().result["ips"][0]["address"] == "10.7.0.50/24"


def _kind(only: str, edit: Callable[[Message], None]) -> Callable[[Packet, Message], Message]:
    """An edit of one kind of answer."""

    def edited(request: Packet, answer: Message) -> Message:
        if answer.kind == only:
            edit(answer)
        return answer

    return edited


def _set(code: int, value: bytes | None) -> Callable[[Message], None]:
    return lambda answer: answer.set(code, value) and None


@EACH_MAKE
def test_no_mask(site: Site, make: str) -> None:
    """Go's gives the lease back; ours does not take it."""
    server = site.segment.server()
    server.options[SUBNET_MASK] = None
    with Daemon(site.node, site.folder, make, *(BRIEF if make == "ours" else ())) as daemon:
        error = site.client(daemon).add().error
        assert error["msg"].startswith("error calling DHCP.Allocate: ")
        if make == "go":
            assert error["msg"].endswith(": DHCP option Subnet Mask not found in DHCPACK")
            server.wait("RELEASE")
        else:  # the offer is not taken
            assert "no subnet mask" in error["details"] and "REQUEST selecting" not in server.kinds()


# Answers that no interface can have, and what the error names
UNUSABLE: dict[str, tuple[Callable[[Packet, Message], Message], str]] = {
    "mask with a hole": (_kind("ACK", _set(SUBNET_MASK, b"\xff\0\xff\0")), "255.0.255.0"),
    "no address": (_kind("OFFER", lambda answer: setattr(answer, "yiaddr", "0.0.0.0")), "no more tries"),
    "broadcast": (_kind("OFFER", lambda answer: setattr(answer, "yiaddr", "255.255.255.255")), "no more tries"),
    "loopback": (_kind("OFFER", lambda answer: setattr(answer, "yiaddr", "127.0.0.1")), "no more tries"),
    "no kind": (_kind("OFFER", _set(KIND, None)), "no more tries"),
    "no server": (_kind("OFFER", _set(SERVER_ID, None)), "no more tries"),
    "only refused": (_kind("ACK", _set(KIND, b"\6")), "no more tries"),
}


@pytest.mark.beyond_old_go("it takes them")
def test_an_unusable_answer_is_refused(site: Site) -> None:
    """And the attempt ends when -resendtimeout is over."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, "ours", *BRIEF) as daemon:
        clients = {name: site.client(daemon) for name in UNUSABLE}
        edits = {client.hardware: UNUSABLE[name][0] for name, client in clients.items()}
        server.edit = lambda request, answer: edits[request.message.chaddr](request, answer)
        outcomes = at_once([client.add for client in clients.values()])
        for (name, client), outcome in zip(clients.items(), outcomes, strict=True):
            said = outcome.error["msg"] + outcome.error.get("details", "")
            assert said.startswith("error calling DHCP.Allocate: ") and UNUSABLE[name][1] in said, name
            assert client.check().code and not daemon.kept()


@pytest.mark.beyond_old_go("it has no -resendtimeout")
def test_no_address_left(site: Site) -> None:
    """For a second interface: Go's text. The next one that asks after DEL gets it."""
    server = site.segment.server(count=1)
    with Daemon(site.node, site.folder, "ours", *BRIEF) as daemon:
        one, two = site.client(daemon).bind(), site.client(daemon)
        assert two.add().error["msg"] == "error calling DHCP.Allocate: no more tries"
        assert server.kinds(two.hardware).count("DISCOVER") > 1
        assert one.delete().ok
        server.wait_heard("RELEASE")
        one.pod.close()
        assert two.add().ok and two.address == one.address


# Settings that are refused before anyone is asked, with Go's texts
REFUSED: dict[str, tuple[Object, str, str]] = {
    "a word": ({"provide": [{"option": "color", "value": "x"}]}, "", 'Can not parse option "color": Can not parse option'),
    "a number": ({"request": [{"option": "256"}]}, "", 'Can not parse option "256": Can not parse option'),
    "long": ({"provide": [{"option": "12", "value": "v" * 256}]}, "", 'value too long for option "12": "vvv'),
    "long argument": (
        {"provide": [{"option": "12", "fromArg": "K"}]}, f"K={'v' * 256}", 'value too long for option "12" from CNI_ARGS "K": "',
    ),
}  # fmt: skip


@EACH_MAKE
def test_settings_that_are_refused(site: Site, make: str) -> None:
    """Nothing is sent."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, make) as daemon:
        pod = site.pod()
        for keys, args, text in REFUSED.values():
            assert text in site.client(daemon, pod, args=args, **keys).add().error["msg"]
        client = site.client(daemon, pod, ifname="eth7")
        assert client.add().error["msg"] == 'error calling DHCP.Allocate: error looking up "eth7": Link not found'
        client = site.client(daemon, pod)
        gone = client.call("ADD", client.conf, netns="/var/run/netns/none").error
        assert 'failed to Statfs "/var/run/netns/none": ' in gone["msg"]
        if make == "ours":  # Go's dies of it
            outcome = client.call("ADD", {**client.conf, "ipam": None})
            assert outcome.code == 7 and "ipam" in outcome.error["msg"]
        assert server.seen == []


@EACH_MAKE
def test_without_a_daemon(site: Site, make: str) -> None:
    """ADD and CHECK fail at once and name the socket. Ours: DEL succeeds, and STATUS says that no ADD would."""
    daemon = Daemon(site.node, site.folder, make, start=False)
    client = site.client(daemon)
    text = f"error dialing DHCP daemon: dial unix {daemon.socket}: connect: no such file or directory"
    assert client.add().error["msg"] == text
    assert client.check().error["msg"] == text
    if make == "go":
        assert client.delete().error["msg"] == text
        return
    assert client.delete().ok
    for socket in (daemon.socket, site.folder / "dead"):
        conf = {**client.conf, "cniVersion": "1.1.0", "ipam": {**client.conf["ipam"], "daemonSocketPath": str(socket)}}
        assert client.call("STATUS", conf, netns="").code == 50
        assert client.call("GC", {**conf, "cni.dev/valid-attachments": []}, netns="").ok
    with daemon:
        daemon.start()
        assert client.call("STATUS", {**client.conf, "cniVersion": "1.1.0"}, netns="").ok


def test_a_link_that_is_down(site: Site) -> None:
    """It is set up; the DISCOVER may be lost, as the port forwards only then, and is sent again."""
    site.segment.server()
    pod = site.node.pod()
    site.segment.attach(pod, up=False)
    with Daemon(site.node, site.folder, "ours", *HASTY) as daemon:
        assert site.client(daemon, pod).add().ok
        assert "UP" in pod.link("eth0")["flags"]


@EACH_MAKE
def test_add_twice(site: Site, make: str) -> None:
    """The same address; ours asks no server again."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, make) as daemon:
        client = site.client(daemon)
        assert [client.add().result["ips"][0]["address"] for _ in range(2)] == ["10.7.0.50/24"] * 2
        if make == "ours":
            assert server.kinds() == ["DISCOVER", "REQUEST selecting"]
        results = at_once([site.client(daemon, client.pod, name="net2").add] * 3)
        assert {outcome.result["ips"][0]["address"] for outcome in results} == {"10.7.0.51/24"}


@EACH_MAKE
def test_an_acknowledgement_without_a_server(site: Site, make: str) -> None:
    """The offer had one."""
    server = site.segment.server()
    server.edit = _kind("ACK", _set(SERVER_ID, None))
    with Daemon(site.node, site.folder, make) as daemon:
        client = site.client(daemon)
        assert client.add().ok and client.delete().ok
        if make == "ours":  # Go's gives it back to 0.0.0.0
            assert server.wait_heard("RELEASE").message.address(SERVER_ID) == server.address


@EACH_MAKE
def test_answers_by_broadcast(site: Site, make: str) -> None:
    """-broadcast asks for them."""
    server = site.segment.server()
    with Daemon(site.node, site.folder, make, "-broadcast") as daemon:
        assert site.client(daemon).add().ok
        assert {packet.message.flags for packet in server.seen} == {0x8000}


@pytest.mark.beyond_old_go("RELEASE is broadcast")
def test_two_servers(site: Site) -> None:
    """One of them is taken, and only that one has a lease that counts: RELEASE goes there, the other one hears which."""
    first, second = site.segment.server(), site.segment.server("10.7.0.2/24", first=150, count=50)
    second.delay = 1
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        assert client.address == "10.7.0.50"
        assert second.wait("REQUEST").message.address(SERVER_ID) == first.address
        assert client.delete().ok
        first.wait_heard("RELEASE")
        assert second.kinds() == ["DISCOVER", "REQUEST selecting"]


@pytest.mark.beyond_old_go("it has no -resendtimeout")
def test_a_slow_server(site: Site) -> None:
    """Its answer to the first DISCOVER counts although a second was sent meanwhile."""
    server: Server = site.segment.server()
    server.delay = 1
    with Daemon(site.node, site.folder, "ours", "-timeout", "200ms", "-resendtimeout", "20s") as daemon:
        assert site.client(daemon).add().ok
        assert server.kinds().count("DISCOVER") > 1


def test_json_names_in_any_case(site: Site) -> None:
    site.segment.server()
    for make in ("ours", "go"):
        with Daemon(site.node, site.folder, make) as daemon:
            client = site.client(daemon)
            client.conf["ipam"] = {"type": "dhcp", "DAEMONSocketPath": str(daemon.socket)}
            assert client.add(binaries=daemon.binaries).ok, GO
