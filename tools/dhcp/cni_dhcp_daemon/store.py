"""The files of leases, written whole: a daemon that is killed at any time leaves the old file or the new one.

Times in them are of this boot (``clock``), and leases of another boot are removed: /run is empty then anyway.
"""

import contextlib
import json
import math
import os
from typing import Any

from cni.address import Prefix
from cni.attachment import Attachment
from cni.errors import CNIError
from cni_dhcp import records
from cni_dhcp_daemon import clock
from cni_dhcp_daemon.client import Address, Lease, Names, Route
from cni_dhcp_daemon.log import say

_FORMAT = 1


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


def _endless(value: float | None) -> float:
    return math.inf if value is None else float(value)


def document(lease: Lease) -> dict[str, Any]:
    """A lease as JSON values."""
    return {
        "addresses": [
            [each.text, each.length, _finite(each.preferred), _finite(each.expires)] for each in lease.addresses
        ],
        "gateway": lease.gateway,
        "routes": [[route.destination, route.gateway] for route in lease.routes],
        "names": [list(lease.names.servers), lease.names.domain, list(lease.names.search)],
        "times": [_finite(lease.renew), _finite(lease.rebind), _finite(lease.expires)],
        "mtu": lease.mtu,
        "server": lease.server,
        "private": lease.private,
    }


def _address(text: str, length: int, preferred: float | None, expires: float | None) -> Address:
    prefix = Prefix.parse(f"{text}/{length}")
    return Address(str(prefix.address), prefix.length, _endless(preferred), _endless(expires))


def lease(found: dict[str, Any]) -> Lease:
    """The lease of JSON values; raises ``KeyError``, ``TypeError`` and ``ValueError``."""
    servers, domain, search = found["names"]
    renew, rebind, expires = map(_endless, found["times"])
    return Lease(
        tuple(_address(*each) for each in found["addresses"]),
        str(found["gateway"]),
        tuple(Route(str(destination), str(gateway)) for destination, gateway in found["routes"]),
        Names(tuple(servers), str(domain), tuple(search)),
        renew,
        rebind,
        expires,
        int(found["mtu"]),
        str(found["server"]),
        dict(found["private"]),
    )


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _restored(values: dict[str, Any], file: str) -> dict[str, Any]:
    """The values of a file with their attachment and leases; raises what ``lease`` raises, and ``CNIError``."""
    who = Attachment(*(str(values[name]) for name in ("network", "container", "ifname")))
    if not file.startswith(records.name(who)):
        raise CNIError(f"it has the lease of {who}, which belongs to another file")
    leases = {name: lease(each) for name, each in values["leases"].items()}
    if "4" in leases and len(leases["4"].addresses) != 1:
        raise CNIError(f"it has {len(leases['4'].addresses)} addresses of DHCPv4")
    return {**values, "who": who, "leases": leases, "addresses": [str(each) for each in values["addresses"]]}


class Store:
    """The files of one daemon."""

    __slots__ = ("_boot", "folder")

    def __init__(self, folder: str) -> None:
        """Makes the folder; raises ``OSError``."""
        os.makedirs(folder, 0o700, exist_ok=True)
        self.folder = folder
        self._boot = clock.boot()

    def write(self, who: Attachment, values: dict[str, Any]) -> None:
        """Write or replace a file. Raises ``OSError``."""
        name = records.name(who)
        temporary = f"{self.folder}/.{name}"
        network, container, ifname = who.parts
        found = {"format": _FORMAT, "owner": str(who), "boot": self._boot}
        found |= {"network": network, "container": container, "ifname": ifname}
        data = json.dumps({**found, **values}).encode("utf-8", "surrogateescape")
        try:
            _write(temporary, data)
            os.rename(temporary, f"{self.folder}/{name}{records.LEASE}")
        except OSError:  # such as a full disk: what was written must not stay
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def remove(self, who: Attachment) -> None:
        """Remove the file of an attachment, if it exists."""
        for end in (records.LEASE, records.DELETED):
            try:
                os.unlink(f"{self.folder}/{records.name(who)}{end}")
            except FileNotFoundError:
                pass
            except OSError as error:
                say(f"{error}: the next daemon takes the lease of {who} for one that is still used")

    def deleted(self) -> list[str]:
        """The names of the leases that DEL has ended without the daemon."""
        return [
            os.path.basename(path).removesuffix(records.DELETED) for path in records.names(self.folder, records.DELETED)
        ]

    def read(self, end: str = records.LEASE) -> list[dict[str, Any]]:
        """What the files have. One that cannot be read is reported and set aside; one of another boot is removed."""
        found = []
        for path in records.names(self.folder, end):
            try:
                values = records.content(path)
                if values.get("format") != _FORMAT:
                    raise CNIError(f"its format is {values.get('format')}, and {_FORMAT} is known")
                if values["boot"] != self._boot:
                    os.unlink(path)
                    say(f"{path}: a lease from before the last boot was removed")
                    continue
                found.append({**_restored(values, os.path.basename(path)), "path": path})
            except (OSError, CNIError, KeyError, TypeError, ValueError, AttributeError) as error:
                self.set_aside(path, error)
        return found

    def set_aside(self, path: str, error: Exception) -> None:
        """Report a file, and rename it."""
        say(f"{path} is damaged and is not used, it is now {path}.damaged: {type(error).__name__}: {error}")
        with contextlib.suppress(OSError):
            os.rename(path, f"{path}.damaged")
