"""The plugin dhcp without a daemon: its configuration, its requests' answers, and the conversation."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from cni import skel
from cni.attachment import Attachment
from cni.errors import CNIError, InvalidConfig, NotAvailable, TryAgainLater
from cni.result import parse
from cni_dhcp import SOCKET, options, records, settings
from cni_dhcp.conversation import LIMIT, MARK, VERSION, NotRunning, ask, ready
from cni_dhcp.wanted import differences, result

Object = dict[str, Any]
ACCEPTED = json.dumps({MARK: VERSION, "seconds": 5}).encode() + b"\n"


def read(ipam: Any, args: str = "") -> settings.Settings:
    """The settings of an ADD."""
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "macvlan", "ipam": ipam}
    environ = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_ARGS": args}
    return settings.read(skel.Call(environ, json.dumps(conf).encode(), StringIO()))


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ([], [3, 1]),
        ([{"option": "host-name"}], [12, 3, 1]),
        ([{"option": "3"}, {"option": "routers"}, {"option": "6"}], [3, 6, 1]),
        ([{"option": "042", "skipDefault": True}], [42]),
        ([{"option": "domain-name-servers"}, {"option": "domain-search"}], [6, 119, 3, 1]),
        ([{"skipDefault": True}], [1, 3, 15, 6]),
        ([{"option": "121"}, {"option": "", "skipDefault": True}], [121]),
    ],
)
def test_what_is_requested(request_: list[Object], wanted: list[int]) -> None:
    """In Go's order; what is listed twice is asked for once."""
    assert read({"type": "dhcp", "request": request_}).requested == wanted


@pytest.mark.parametrize(
    ("provide", "args", "wanted"),
    [
        ([{"option": "12", "value": "a"}], "", {12: b"a"}),
        ([{"option": "host-name", "value": "a", "fromArg": "K"}], "K=b=c;no;L=d", {12: b"b=c"}),
        ([{"option": "host-name", "value": "a", "fromArg": "K"}], "K=", {12: b"a"}),
        ([{"option": "60", "fromArg": "K"}], "IgnoreUnknown=maybe", {}),
        ([{"option": "60", "value": "a"}, {"option": "60", "value": "é"}], "", {60: "é".encode()}),
    ],
)
def test_what_is_provided(provide: list[Object], args: str, wanted: dict[int, bytes]) -> None:
    """A value of CNI_ARGS comes before the configuration's; the later entry of an option counts."""
    assert read({"type": "dhcp", "provide": provide}, args).provided == wanted


@pytest.mark.parametrize(
    ("ipam", "text"),
    [
        ({"provide": [{"option": "color"}]}, 'Can not parse option "color": Can not parse option: strconv'),
        ({"request": [{"option": "256"}]}, 'Can not parse option "256": Can not parse option: strconv'),
        ({"request": [{"option": "-1"}]}, 'Can not parse option "-1"'),
        ({"provide": [{"option": "12", "value": "v" * 256}]}, 'value too long for option "12": "vvv'),
        ({"priority": -1}, "priority is -1"),
        ({"ipv6": "yes"}, 'ipv6 is "yes"'),
        ({"ipv4": False}, "neither IPv4 nor IPv6"),
        ({"daemonSocketPath": "a\0b"}, "NUL"),
        (None, "IPAM config missing 'ipam' key"),
    ],
)
def test_what_is_refused(ipam: Any, text: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read(ipam)
    assert text in str(caught.value)


def test_the_socket_by_default_and_for_del() -> None:
    """Empty means the default; DEL reads no other key, and takes what it can."""
    assert read({"type": "dhcp", "daemonSocketPath": ""}).socket == SOCKET
    environ = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    for value, wanted in (("/a", "/a"), (7, SOCKET), ("", SOCKET), ("a\0b", SOCKET)):
        conf = {"name": "net1", "ipam": {"DaemonSocketPath": value, "request": "broken"}}
        assert settings.socket_path(skel.Call(environ, json.dumps(conf).encode(), StringIO())) == wanted


LEASE: Object = {
    "addresses": ["10.7.0.50/24"],
    "gateway": "10.7.0.1",
    "routes": [["0.0.0.0/0", "10.7.0.1"], ["10.9.0.0/16", ""]],
    "servers": ["10.7.0.3"],
    "domain": "a",
    "search": ["b"],
}
LEASE6: Object = {
    "addresses": ["fd00::5/64", "fd00::6/128"],
    "gateway": "fe80::1",
    "routes": [["::/0", "fe80::1"]],
    "servers": ["10.7.0.3", "fd00::3"],
    "domain": "",
    "search": ["b", "c"],
}


def test_the_result_of_a_lease() -> None:
    """As Go's: a route on the link has an empty gateway and a scope; the metric is on every route."""
    found = result({"leases": [LEASE, LEASE6]}, 5).document("1.1.0")
    assert found["ips"] == [
        {"address": "10.7.0.50/24", "gateway": "10.7.0.1"},
        {"address": "fd00::5/64", "gateway": "fe80::1"},
        {"address": "fd00::6/128", "gateway": "fe80::1"},
    ]
    assert found["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.7.0.1", "priority": 5},
        {"dst": "10.9.0.0/16", "gw": "0.0.0.0", "priority": 5, "scope": 253},
        {"dst": "::/0", "gw": "fe80::1", "priority": 5},
    ]
    assert found["dns"] == {"nameservers": ["10.7.0.3", "fd00::3"], "domain": "a", "search": ["b", "c"]}


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ({}, []),
        ({"addresses": ["10.7.0.51/24"]}, ["eth0 has a lease of 10.7.0.51/24, and prevResult has 10.7.0.50/24"]),
        ({"gateway": "10.7.0.2"}, ["gateway of 10.7.0.50/24 is now 10.7.0.2, and 10.7.0.1 in prevResult"]),
        ({"routes": [["10.8.0.0/16", "10.7.0.1"]]}, ["a route to 10.8.0.0/16 via 10.7.0.1"]),
        ({"routes": []}, []),
    ],
)
def test_the_differences_from_prevresult(change: Object, texts: list[str]) -> None:
    """Later plugins may have added addresses and routes."""
    known = result({"leases": [LEASE, LEASE6]}, 0).document("1.0.0")
    found = differences("eth0", result({"leases": [{**LEASE, **change}]}, 0), parse(known, "1.0.0"))
    assert len(found) == len(texts) and all(text in each for text, each in zip(texts, found, strict=True))


@contextmanager
def answering(path: Path, *pieces: bytes) -> Iterator[list[bytes]]:
    """A daemon that reads a request, says this, and closes the connection."""
    heard: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(BrokenPipeError):
            heard.append(connection.recv(LIMIT))
            for piece in pieces:
                connection.sendall(piece)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield heard
        thread.join()


def test_a_request_and_its_reply(tmp_path: Path) -> None:
    """In pieces too. The request is one line with the version of the protocol."""
    with answering(tmp_path / "s", ACCEPTED[:5], ACCEPTED[5:] + b'{"a"', b": 1}\n") as heard:
        assert ask(str(tmp_path / "s"), "allocate", container="c1") == {"a": 1}
    assert json.loads(heard[0]) == {MARK: VERSION, "do": "allocate", "container": "c1"} and heard[0].endswith(b"\n")


@pytest.mark.parametrize(
    ("pieces", "error", "text"),
    [
        ([ACCEPTED, b'{"error": {"msg": "m", "details": "d", "code": 11}}\n'], CNIError, "error calling DHCP.Allocate: m; d"),
        ([b'{"error": {"msg": "the plugin has version 2", "code": 11}}\n'], CNIError, "DHCP.Allocate: the plugin has version 2"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], CNIError, "is not pycni's: it speaks Go's net/rpc"),
        ([b'{"pycni-dhcp": 2}\n'], CNIError, "version 2 of the protocol, not 1"),
        ([b"[]\n"], CNIError, "not pycni's"),
        ([b"220 smtp\n"], TryAgainLater, "ended before it had answered"),
        ([], TryAgainLater, "ended before it had answered"),
        ([ACCEPTED], TryAgainLater, "ended before it had answered"),
        ([ACCEPTED, b"x" * (LIMIT + (1 << 17))], TryAgainLater, "too long"),
    ],
)  # fmt: skip
def test_answers_that_are_errors(tmp_path: Path, pieces: list[bytes], error: type[CNIError], text: str) -> None:
    """Of another daemon, of one that dies, and the daemon's own. None is waited for."""
    with answering(tmp_path / "s", *pieces), pytest.raises(error) as caught:
        ask(str(tmp_path / "s"), "allocate")
    assert text in str(caught.value)
    assert caught.value.code == (11 if error is TryAgainLater or b'"code": 11' in b"".join(pieces) else 999)


def test_without_a_daemon(tmp_path: Path) -> None:
    """Go's text, with the remedy; STATUS has code 50."""
    for path in (tmp_path / "nothing", tmp_path / "left"):
        if path.name == "left":
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        with pytest.raises(NotRunning) as caught:
            ask(str(path), "release")
        assert f"error dialing DHCP daemon: dial unix {path}: connect: " in caught.value.msg
        assert "dhcp daemon" in caught.value.details
        with pytest.raises(NotAvailable):
            ready(str(path))
    with pytest.raises(NotRunning):
        ask("/" + "x" * 300, "release")


def test_the_files_of_leases(tmp_path: Path) -> None:
    """A folder for each socket, and a name for each attachment. DEL without the daemon marks a lease that exists."""
    assert records.folder("/run/x", SOCKET) == "/run/x/dhcp/run%2Fcni%2Fdhcp.sock"
    assert records.folder("/run/x", "/a/b") != records.folder("/run/x", "/a%2Fb")
    assert len(os.path.basename(records.folder("", "/a" * 400))) <= 200
    one, two = (records.name(Attachment("net1", "c1", ifname)) for ifname in ("eth0", "eth1"))
    assert one != two and len(one) == 32
    folder = tmp_path / "leases"
    assert records.names(str(folder)) == []
    records.mark_deleted(str(folder), one)
    folder.mkdir()
    (folder / f"{one}.lease").write_text('{"a": 1}')
    records.mark_deleted(str(folder), two)
    records.mark_deleted(str(folder), one)
    (path,) = records.names(str(folder), records.DELETED)
    assert records.content(path) == {"a": 1} and records.names(str(folder)) == []


@pytest.mark.parametrize("option", ["", "é", "٣", "1e2", "+5", "0x10", "1_0", " 6"])
def test_a_text_that_is_no_number(option: str) -> None:
    """What Python would read as a number, and Go would not."""
    with pytest.raises(InvalidConfig):
        options.number(option)
