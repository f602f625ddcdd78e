"""The parts of the DHCP daemon that need no namespace: flags, deadlines, packets, files, the socket, its conversation."""

import asyncio
import errno
import json
import math
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.attachment import Attachment
from cni.errors import CNIError
from cni_dhcp import records
from cni_dhcp.conversation import LIMIT, MARK, VERSION
from cni_dhcp_daemon import (
    clock,
    flags,
    listening,
    packets4,
    packets6,
    packetsocket,
    reading,
    recorded,
    server,
    store,
    timers,
)
from cni_dhcp_daemon.client import Address, Lease, Names, Route

Object = dict[str, Any]
WHO = Attachment("net1", "c1", "eth0")
# flags


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ([], {}),
        (["-socketpath", "/a", "--timeout=2s", "-broadcast"], {"socketpath": "/a", "timeout": 2.0, "broadcast": True}),
        (["-broadcast=f", "--resendmax", "1m30s"], {"resendmax": 90.0}),
        (["-pidfile=/p", "-hostprefix", "/host", "--", "-x"], {"pidfile": "/p", "hostprefix": "/host"}),
        (["word", "-x"], {}),
        (["-resendtimeout", "1.5h0.5m"], {"resendtimeout": 5430.0}),
    ],
)
def test_flags_as_go_reads_them(words: list[str], changed: Object) -> None:
    """One dash or two, with a blank or an equals sign; the first other word ends them."""
    found, usual = flags.read(words), flags.Flags()
    assert {name: getattr(found, name) for name in usual.__slots__} == {
        name: changed.get(name, getattr(usual, name)) for name in usual.__slots__
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-nothing"], "flag provided but not defined: -nothing"),
        (["-timeout"], "flag needs an argument: -timeout"),
        (["---timeout"], "bad flag syntax: ---timeout"),
        (["-=1"], "bad flag syntax: -=1"),
        (["-timeout", "2"], 'invalid value "2" for flag -timeout: parse error'),
        (["-timeout", "0s"], "longer than 0"),
        (["-timeout=-1s"], "longer than 0"),
        (["-broadcast=yes"], 'invalid boolean value "yes" for flag -broadcast: parse error'),
    ],
)
def test_flags_that_are_refused(words: list[str], text: str) -> None:
    with pytest.raises(flags.WrongFlag) as caught:
        flags.read(words)
    assert text in str(caught.value)


def test_help() -> None:
    """The usage names each flag with its default."""
    for word in ("-h", "--help"):
        with pytest.raises(flags.HelpWanted):
            flags.read([word])
    assert all(f"  -{name}" in flags.USAGE for name in flags.Flags.__slots__)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("500ms", 0.5),
        ("1h2m3s", 3723),
        ("1.5s", 1.5),
        (".5s", 0.5),
        ("10us", 1e-5),
        ("7µs", 7e-6),
        ("+1s", 1),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert flags.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1", "1x", "1s ", "1 s", "1m30", "-", "--1s", "1e3s", "9999999999h", "."])
def test_texts_that_are_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        flags.duration(text)


# deadlines


class Item:
    """Something with a deadline, which is noted when it is woken."""

    def __init__(self, woken: list[str], name: str, then: Callable[[], None] = lambda: None) -> None:
        self.due: float | None = None
        self._woken, self._name, self._then = woken, name, then

    def wake(self, now: float) -> None:
        self._woken.append(self._name)
        self._then()


def test_deadlines_come_in_order_and_a_changed_one_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A fault in one is printed, and the others are woken. Deadlines that were changed do not accumulate."""

    async def run() -> list[str]:
        woken: list[str] = []
        done = asyncio.Event()
        kept = timers.Timers(asyncio.get_running_loop())

        def fault() -> None:
            raise ValueError("wrong")

        items = [Item(woken, "first"), Item(woken, "wrong", fault), Item(woken, "last", done.set)]
        never, often = Item(woken, "never"), Item(woken, "often")
        now = clock.now()
        for place, item in reversed(list(enumerate(items))):
            kept.set(item, now + 0.01 + place / 1000)
        kept.set(never, now + 0.005)
        kept.set(never, None)
        for count in range(300):
            kept.set(often, now + 100 + count)
        assert len(kept._heap) < 100
        kept.set(often, now + 0.0105)
        await asyncio.wait_for(done.wait(), 30)
        return woken

    assert asyncio.run(run()) == ["first", "often", "wrong", "last"]
    assert "ValueError: wrong" in capsys.readouterr().err


# packets


def test_a_packet_to_the_server_is_well_formed() -> None:
    """Addresses, ports, lengths and both checksums; an odd length too."""
    for payload in (b"", b"x", b"xy" * 150):
        packet = packets4.framed(payload, bytes(4), b"\xff" * 4)
        assert packets4.checksum(packet[:20]) == 0 and packet[8] == 64 and packet[9] == 17
        assert struct.unpack_from("!HHH", packet, 20) == (68, 67, 8 + len(payload))
        pseudo = packet[12:20] + struct.pack("!BBH", 0, 17, 8 + len(payload))
        assert packets4.checksum(pseudo + packet[20:]) == 0
        assert struct.unpack_from("!H", packet, 2) == (len(packet),)


def answer(payload: bytes = b"hello", port: int = 68) -> bytes:
    """A packet from a server: the client's, turned around."""
    packet = bytearray(packets4.framed(payload, b"\x0a\7\0\1", b"\x0a\7\0\x32"))
    struct.pack_into("!HH", packet, 20, 67, port)
    packet[26:28] = bytes(2)
    pseudo = bytes(packet[12:20]) + struct.pack("!BBH", 0, 17, 8 + len(payload))
    struct.pack_into("!H", packet, 26, packets4.checksum(pseudo + bytes(packet[20:])))
    return bytes(packet)


def test_an_answer_is_read() -> None:
    """Also with options, padding of the link, and a checksum that is absent or not computed yet."""
    good = answer()
    assert packets4.unframed(good, True) == (b"hello", b"\x0a\7\0\1")
    assert packets4.unframed(good + bytes(20), True) == (b"hello", b"\x0a\7\0\1")
    unsummed = good[:26] + bytes(2) + good[28:]
    assert packets4.unframed(unsummed, True) is not None
    partial = good[:26] + b"\x12\x34" + good[28:]
    assert packets4.unframed(partial, True) is None and packets4.unframed(partial, False) is not None


def test_what_is_no_answer_is_not_read() -> None:
    """Other ports, fragments, wrong lengths and checksums."""
    good = answer()
    for place, value in ((0, 0x65), (0, 0x44), (0, 0x4F), (2, 0xFF), (6, 0x20), (9, 6), (23, 67), (24, 0xFF), (25, 7)):
        wrong = bytearray(good)
        wrong[place] = value
        struct.pack_into("!H", wrong, 10, 0)
        struct.pack_into("!H", wrong, 10, packets4.checksum(bytes(wrong[:20])))
        assert packets4.unframed(bytes(wrong), True) is None, (place, value)
    assert packets4.unframed(good[:10] + b"\0\0" + good[12:], True) is None


@given(st.binary(max_size=80), st.booleans())
def test_no_bytes_are_a_fault(data: bytes, summed: bool) -> None:
    packets4.unframed(data, summed)
    packets4.is_conflict(data, bytes(6), bytes(4))
    packets6.is_conflict(data, bytes(16))


@given(st.integers(0, 60), st.integers(0, 255))
def test_a_damaged_answer_is_refused_or_the_same(place: int, value: int) -> None:
    """The checksums cover all that is read."""
    good = bytearray(answer(b"x" * 33))
    good[place] = value
    assert packets4.unframed(bytes(good), True) in (None, (b"x" * 33, b"\x0a\7\0\1"))


def test_who_has_an_address_of_ipv4() -> None:
    """An answer, an announcement, and a probe of another host; not our own packets, and none about other addresses."""
    own, other, address = b"\2" * 6, b"\4" * 6, b"\x0a\7\0\x32"

    def arp(operation: int, sender: bytes, source: bytes, target: bytes) -> bytes:
        return struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, operation, sender, source, bytes(6), target)

    assert packets4.arp_probe(own, address) == arp(1, own, bytes(4), address)
    conflicts = [arp(2, other, address, bytes(4)), arp(1, other, address, address), arp(1, other, bytes(4), address)]
    assert all(packets4.is_conflict(each, own, address) for each in conflicts)
    harmless = [arp(1, own, bytes(4), address), arp(1, other, b"\x0a\7\0\1", address), arp(2, other, bytes(4), address)]
    assert not any(packets4.is_conflict(each, own, address) for each in harmless)


def test_who_has_an_address_of_ipv6() -> None:
    """An advertisement, and a probe of another host."""
    address = socket.inet_pton(socket.AF_INET6, "fd00::1:2345")
    probe = packets6.probe(address)
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff01:2345")
    assert probe[24:40] == group == packets6.solicited(address) and probe[7] == 255 and not any(probe[8:24])
    assert packets6.group_mac(group) == bytes.fromhex("3333ff012345")
    pseudo = probe[8:40] + struct.pack("!II", len(probe) - 40, 58)
    assert packets4.checksum(pseudo + probe[40:]) == 0
    assert packets6.is_conflict(probe, address)
    advertised = probe[:8] + group + probe[24:40] + b"\x88" + probe[41:]
    assert packets6.is_conflict(advertised, address)
    assert not packets6.is_conflict(advertised, address[:15] + b"\0")
    assert not packets6.is_conflict(advertised[:7] + b"\xfe" + advertised[8:], address)
    asking = probe[:8] + address + probe[24:]
    assert not packets6.is_conflict(asking, address)


# sockets


def passed(program: Any, *packets: bytes) -> list[bytes]:
    """Those of the packets that the kernel lets through to a socket with this filter."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with here, there:
        there.setblocking(False)
        packetsocket.attach(there, program)
        found = []
        for packet in packets:
            here.send(packet)
            try:
                found.append(there.recv(4096))
            except BlockingIOError:
                pass
        return found


def test_the_kernel_lets_through_what_a_client_needs() -> None:
    """Answers to its MAC, also behind options of IP; ARP about the address; what neighbours say."""
    mac, neighbour = b"\2\0\0\0\0\x51", b"\2\0\0\0\0\x52"
    to_it, to_other = (answer(bytes(28) + each + bytes(210)) for each in (mac, neighbour))
    optional = b"\x46" + to_it[1:20] + bytes(4) + to_it[20:]
    wrong = [
        to_other, answer(bytes(28) + mac + bytes(210), 67), to_it[:6] + b"\0\7" + to_it[8:], to_it[:9] + b"\6" + to_it[10:],
        to_it[:50], to_it[:1],
    ]  # fmt: skip
    kept = passed(packetsocket.answers_of_dhcp(68, mac), to_it, *wrong, optional)
    assert kept == [to_it, optional]
    assert passed(packetsocket.answers_of_dhcp(68, bytes(20)), *wrong, to_it) == [to_other, to_it[:50], to_it]
    one, two = b"\x0a\7\0\x32", b"\x0a\7\0\1"
    asked, about_other = packets4.arp_probe(mac, one), packets4.arp_probe(mac, two)
    told = about_other[:14] + one + about_other[18:]
    assert passed(packetsocket.arp_about(one), asked, about_other, told, asked[:20]) == [asked, told]
    solicited = packets6.probe(bytes(16))
    advertised, of_router = (solicited[:40] + kind + solicited[41:] for kind in (b"\x88", b"\x86"))
    kept = passed(packetsocket.neighbours(), solicited, of_router, advertised, solicited[:6] + b"\6" + solicited[7:])
    assert kept == [solicited, advertised]


def test_only_so_many_packets_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait for the next period; after ``close`` none is read."""
    taken: list[bytes] = []

    async def flooded(period: float, until: int) -> None:
        monkeypatch.setattr(reading, "PERIOD", period)
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with here, there:
            there.setblocking(False)
            here.send(bytes(reading.MOST * 3))
            reader = reading.Reader(there, lambda: there.recv(1), taken.append)
            while len(taken) < until:
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0)
            reader.close()

    asyncio.run(flooded(1000.0, reading.MOST))
    assert len(taken) == reading.MOST
    taken.clear()
    asyncio.run(flooded(0.01, reading.MOST * 3))
    assert len(taken) == reading.MOST * 3


# files

FINITE = Lease(
    (Address("10.7.0.50", 24, 100.5, 200.0),), "10.7.0.1", (Route("0.0.0.0/0", "10.7.0.1"), Route("10.9.0.0/16", "")),
    Names(("10.7.0.3",), "a", ("b", "c")), 50.0, 150.0, 200.0, 1400, "10.7.0.1", {"xid": [1, {"a": "é"}]},
)  # fmt: skip
ENDLESS = Lease((Address("fd00::5", 64, math.inf, math.inf),), "", (), Names(), math.inf, math.inf, math.inf)


OTHER, THIRD = Attachment("net1", "c2", "eth0"), Attachment("net1", "c3", "eth0")


def values(lease: Lease) -> Object:
    """What a keeper writes, as far as it matters here."""
    return {"leases": {"4": store.document(lease)}, "addresses": []}


@pytest.mark.parametrize("lease", [FINITE, ENDLESS])
def test_a_lease_is_read_as_it_was_written(tmp_path: Path, lease: Lease) -> None:
    """Times that never end too. Only root can read it, and nothing else is left in the folder."""
    kept = store.Store(str(tmp_path / "a/b"))
    kept.write(WHO, values(ENDLESS))
    kept.write(WHO, values(lease))
    (found,) = kept.read()
    assert found["who"] == WHO and found["leases"] == {"4": lease}
    (file,) = (tmp_path / "a/b").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    kept.remove(WHO)
    kept.remove(WHO)
    assert kept.read() == []


def test_damaged_files_are_set_aside_and_those_of_another_boot_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is in them; the others are read."""
    kept = store.Store(str(tmp_path))
    kept.write(WHO, values(FINITE))
    good = (tmp_path / f"{records.name(WHO)}.lease").read_text()
    document = json.loads(good)
    first = document["leases"]["4"]
    wrong = {
        "torn": good[:50], "empty": "", "list": "[]", "deep": "[" * 10000, "format": json.dumps({**document, "format": 9}),
        "times": json.dumps({**document, "leases": {"4": {**document["leases"]["4"], "times": ["x", 1, 2]}}}),
        "leases": json.dumps({**document, "leases": 5}),
        "owner": json.dumps({**document, "container": None, "leases": {"4": {}}}),
        "other": good,
        records.name(OTHER): json.dumps({**document, "container": "c2", "leases": {"4": {**first, "addresses": []}}}),
        records.name(THIRD): json.dumps(
            {**document, "container": "c3", "leases": {"4": {**first, "addresses": [["x", 24, 1, 2]]}}}
        ),
    }  # fmt: skip
    for name, text in wrong.items():
        (tmp_path / f"{name}.lease").write_text(text)
    (tmp_path / "old.lease").write_text(json.dumps({**document, "boot": "another"}))
    (tmp_path / ".half").write_text("{")
    assert [found["who"] for found in kept.read()] == [WHO]
    said = capsys.readouterr().err
    assert all(f"{name}.lease is damaged" in said for name in wrong) and "before the last boot" in said
    names = {at.name for at in tmp_path.iterdir()}
    assert {f"{name}.lease.damaged" for name in wrong} <= names and "old.lease" not in names
    assert [found["who"] for found in kept.read()] == [WHO] and capsys.readouterr().err == ""


def test_a_file_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no half of the new one, as on a full disk."""
    kept = store.Store(str(tmp_path))
    kept.write(WHO, values(FINITE))

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        kept.write(WHO, values(ENDLESS))
    assert [at.name for at in tmp_path.iterdir()] == [f"{records.name(WHO)}.lease"]
    assert [found["leases"] for found in kept.read()] == [{"4": FINITE}]


def test_records_of_a_runtime_are_read(tmp_path: Path) -> None:
    """Those with dhcp and this socket; whatever else is in the folder is left out."""
    ipam = {"type": "dhcp", "daemonSocketPath": "/s", "provide": [{"option": "12", "fromArg": "K"}]}
    result = {"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.50/24"}]}

    def entry(name: str, config: Any, **more: Any) -> None:
        import base64

        encoded = base64.b64encode(json.dumps(config).encode()).decode()
        document = {
            "kind": "cniCacheV1", "containerId": "c1", "config": encoded, "ifName": "eth0", "networkName": "net1",
            "netns": "/n", "cniArgs": [["K", "pod"]], "result": result, **more,
        }  # fmt: skip
        (tmp_path / name).write_text(json.dumps(document))

    entry("a", {"plugins": [{"type": "bridge", "ipam": ipam}, {"type": "portmap"}]})
    entry("b", {"type": "macvlan", "ipam": {**ipam, "daemonSocketPath": "/other"}})
    entry("c", {"type": "macvlan", "ipam": {"type": "host-local"}})
    entry("d", {"type": "macvlan", "ipam": {**ipam, "provide": [{"option": "color"}]}})
    entry("e", {"type": "macvlan", "ipam": ipam}, containerId="../x")
    entry("f", {"type": "macvlan", "ipam": ipam}, netns="")
    entry("g", {"type": "macvlan", "ipam": ipam}, containerId="c2", result={"ips": 5})
    entry("h", {"type": "macvlan"}, kind="other")
    (tmp_path / "i").write_text("{")
    (tmp_path / "j").mkdir()
    (found,) = recorded.recorded(str(tmp_path), "/s")
    assert (found.who, found.netns, found.path) == (WHO, "/n", f"{tmp_path}/a")
    assert found.request == {
        "addresses": ["10.7.0.50/24"], "provide": [[12, b"pod".hex()]], "request": [3, 1], "priority": 0,
    }  # fmt: skip
    assert list(recorded.recorded(f"{tmp_path}/none", "/s")) == []


# the socket


def test_the_socket_is_roots_and_a_stale_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder/s"
    first = listening.own(str(path))
    first.listen()
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    with pytest.raises(listening.Unusable) as caught:
        listening.own(str(path))
    assert "address already in use" in str(caught.value)
    first.close()
    listening.own(str(path)).close()
    path.unlink()
    path.touch()
    with pytest.raises(listening.Unusable) as caught:
        listening.own(str(path))
    assert "no socket" in str(caught.value)


def test_one_daemon_has_a_folder(tmp_path: Path) -> None:
    """The message names the process; after its end another one can begin."""
    claim = listening.Claim(f"{tmp_path}/a", "/s")
    with pytest.raises(listening.Unusable) as caught:
        listening.Claim(f"{tmp_path}/a", "/s")
    assert f"process {os.getpid()} is the daemon of /s" in str(caught.value)
    claim.end()
    listening.Claim(f"{tmp_path}/a", "/s").end()


def test_the_file_of_the_process_id(tmp_path: Path) -> None:
    """As Go's: decimal, without a line's end."""
    listening.write_pid(f"{tmp_path}/p")
    assert (tmp_path / "p").read_text() == str(os.getpid())
    for path in ("p", f"{tmp_path}/none/p"):
        with pytest.raises(listening.Unusable) as caught:
            listening.write_pid(path)
        assert f'Error writing pidfile "{path}"' in str(caught.value)


# its conversation


class Wire(asyncio.Transport):
    """A connection without a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0


REQUEST: Object = {
    MARK: VERSION, "do": "allocate", "network": "net1", "container": "c1", "ifname": "eth0", "netns": "/n", "provide": [],
    "request": [], "ipv4": True, "ipv6": "", "probe": True, "priority": 0,
}  # fmt: skip


def said(*pieces: bytes, **calls: Any) -> tuple[list[Any], server.Connection]:
    """What a connection answers to these bytes; ``calls`` serve the requests."""

    async def run() -> tuple[list[Any], server.Connection]:
        keepers: Any = SimpleNamespace(seconds=5, **calls)
        connection, wire = server.Connection(keepers), Wire()
        connection.connection_made(wire)
        for piece in pieces:
            connection.data_received(piece)
        if not wire.closed:
            connection.connection_lost(None)
            return [], connection
        lines = wire.sent.splitlines()
        return [json.loads(line) if line.startswith(b"{") else line for line in lines], connection

    return asyncio.run(run())


def test_a_request_is_acknowledged_and_answered() -> None:
    """In pieces; what follows it is not read."""

    def allocate(request: Object, waiter: server.Connection) -> None:
        assert request == REQUEST
        waiter.reply({"leases": []})

    text = json.dumps(REQUEST).encode()
    answers, _ = said(text[:9], text[9:] + b"\nmore", b"still", allocate=allocate)
    assert answers == [{MARK: VERSION, "seconds": 5}, {"leases": []}]


def test_go_plugin_gets_an_answer_of_http_at_once() -> None:
    """Its client prints the status as `unexpected HTTP response`."""
    answers, _ = said(b"CONNECT /_goRPC_ HTTP/1.0\n\n")
    assert answers[0].startswith(b"HTTP/1.0 501 this daemon is pycni's")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"{}\n", "version None of the protocol"),
        (b"nonsense\n", "no JSON object"),
        (b"[" * 100000 + b"\n", "no JSON object"),
        (b"\xff\n", "no JSON object"),
        (json.dumps({MARK: VERSION, "do": "__init__"}).encode() + b"\n", "unknown request"),
        (json.dumps({**REQUEST, "ipv4": 1}).encode() + b"\n", "no valid ipv4"),
        (json.dumps({**REQUEST, "container": "../x"}).encode() + b"\n", "containerID"),
        (json.dumps({**REQUEST, "ifname": "a/b"}).encode() + b"\n", "interface name"),
        (json.dumps({**REQUEST, "do": "release"}).encode() + b"\n", "no valid addresses"),
        (b"x" * (LIMIT + 1), "too long"),
    ],
)
def test_requests_that_are_refused(text: bytes, fault: str) -> None:
    answers, _ = said(text)
    assert fault in answers[-1]["error"]["msg"]


def test_faults_and_errors_reach_the_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    """An error with its code; a fault of the daemon's code with its kind, and in the log with its place."""

    def refuse(request: Object, waiter: Any) -> None:
        raise CNIError("no", "because", 11)

    def fault(request: Object, waiter: Any) -> None:
        raise KeyError("x")

    text = json.dumps({MARK: VERSION, "do": "status"}).encode() + b"\n"
    assert said(text, status=refuse)[0][-1] == {"error": {"msg": "no", "details": "because", "code": 11}}
    assert "KeyError" in said(text, status=fault)[0][-1]["error"]["msg"]
    assert "Traceback" in capsys.readouterr().err


def test_a_call_that_ends_is_abandoned() -> None:
    """Its keeper is told, once."""
    abandoned: list[Any] = []
    keeper = SimpleNamespace(abandon=abandoned.append)
    answers, connection = said(json.dumps(REQUEST).encode() + b"\n", allocate=lambda request, waiter: keeper)
    assert answers == [] and abandoned == [connection]
