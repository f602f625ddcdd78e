"""The client of D-Bus: messages byte by byte, answers in either byte order, addresses, and a bus that misbehaves."""

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cni.dbus import BUS, Answer, Bus, BusError, addresses, call_message
from cni.filtering import firewalld

TARGET = (BUS, "/org/freedesktop/DBus", BUS)
HELLO = bytes.fromhex(
    "6c01000100000000010000006e000000"
    "01016f00150000002f6f72672f667265656465736b746f702f4442757300000006017300140000006f72672e667265656465736b746f702e4442757300000000"
    "02017300140000006f72672e667265656465736b746f702e4442757300000000030173000500000048656c6c6f000000"
)


def test_a_call_is_as_the_reference_sends_it() -> None:
    """`Hello` as libdbus has it, but for the order of the fields, which is free."""
    assert call_message(1, TARGET, "Hello", ()) == HELLO
    message = call_message(7, ("a.b", "/a", "a.b.c"), "add", ("trusted", "10.1.0.2/32"))
    body = struct.pack("<I", 7) + b"trusted\0" + struct.pack("<I", 11) + b"10.1.0.2/32\0"
    assert message.endswith(body) and struct.unpack_from("<I", message, 4)[0] == len(body)
    assert b"\x08\x01g\0\x02ss\0" in message
    assert (len(message) - len(body)) % 8 == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_answers_are_read_in_either_byte_order(order: str) -> None:
    fields = bytes((5, 1)) + b"u\0" + struct.pack(f"{order}I", 9) + bytes((8, 1)) + b"g\0\1s\0"
    text = Answer(order, 2, fields, struct.pack(f"{order}I", 3) + b"abc\0")
    assert (text.reply_to, text.value) == (9, "abc")
    flag = Answer(order, 2, fields[:-2] + b"b\0", struct.pack(f"{order}I", 1))
    assert flag.value is True
    assert Answer(order, 2, fields[:8], b"").value is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("unix:path=/run/dbus/system_bus_socket", [b"/run/dbus/system_bus_socket"]),
        ("unix:abstract=/tmp/x,guid=00", [b"\0/tmp/x"]),
        ("tcp:host=localhost;unix:guid=1,path=/a%20b%2Cc", [b"/a b,c"]),
        ("unix:path=/bad%zz", [b"/bad%zz"]),
        ("nonsense", []),
        ("", []),
    ],
)
def test_addresses_of_the_bus(text: str, found: list[bytes]) -> None:
    assert addresses(text) == found


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """A function that has a bus answer these bytes, whatever it is asked, and then end."""
    at = str(tmp_path / "bus")
    server = socket.socket(socket.AF_UNIX)
    server.bind(at)
    server.listen()
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={at}")
    threads: list[threading.Thread] = []

    def answer(data: bytes) -> None:
        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                with suppress(ConnectionResetError):
                    while connection.recv(1 << 16):
                        pass

        threads.append(threading.Thread(target=serve))
        threads[-1].start()

    yield answer
    for thread in threads:
        thread.join()
    server.close()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"REJECTED EXTERNAL\r\n", "refused authentication: REJECTED EXTERNAL"),
        (b"", "closed the connection"),
        (b"OK 1234\r\n", "closed the connection"),
        (b"OK 1234\r\nl\2\0\1" + struct.pack("<III", 1 << 30, 1, 0), "too long"),
        (b"OK 1234\r\nl\2\0\1" + struct.pack("<III", 0, 1, 8) + bytes((5, 1)) + b"s\0\xff\xff\xff\xff", "closed"),
        (b"x" * 8192, "refused authentication"),
    ],
)
def test_a_bus_that_misbehaves_is_an_error(bus: Callable[[bytes], None], data: bytes, text: str) -> None:
    bus(data)
    with pytest.raises(BusError, match=text):
        Bus()


def test_without_a_bus_firewalld_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The message names the socket and the variable; nothing is left open."""
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    before = os.listdir("/proc/self/fd")
    assert not firewalld.runs()
    with pytest.raises(BusError, match="No such file") as told:
        Bus()
    assert "DBUS_SYSTEM_BUS_ADDRESS" in told.value.details
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=localhost")
    assert not firewalld.runs()
    assert len(os.listdir("/proc/self/fd")) == len(before)
