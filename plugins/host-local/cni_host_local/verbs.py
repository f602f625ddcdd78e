"""The verbs of host-local. The container's namespace is not entered.

STATUS is asked every few seconds: what it does not need is imported by the others.
"""

import os

from cni.address import Prefix
from cni.errors import CNIError, NotAvailable
from cni.result import DNS, IPConfig, Result
from cni_host_local import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni import plan
    from cni.address import Address
    from cni.skel import Call
    from cni_host_local.leases import Leases

# Go reads resolv.conf by lines of less than this many bytes.
_LINE_MAX = 1 << 16
_RESOLV_CONF_MAX = 1 << 20


def _plan(leases: "Leases", tell: "Callable[[Any], object]" = lambda value: None) -> "plan.Plan":
    def stages() -> "plan.Stages":
        values = yield [leases]
        if values:
            tell(values[0])

    return stages


def _dns(path: str) -> DNS | None:
    if not path:
        return None
    from cni import regular
    from cni_host_local import resolvconf

    try:
        data = regular.read(path, _RESOLV_CONF_MAX)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CNIError(f"open {path}: {reason.lower()}", "ipam.resolvConf must name a readable file") from None
    if any(len(line) >= _LINE_MAX for line in data.split(b"\n")):
        raise CNIError(f"{path} has a line of {_LINE_MAX} bytes or more", "shorten it, or change ipam.resolvConf")
    return resolvconf.parse(data.decode("utf-8", "replace"))


def add(call: "Call") -> Result:
    """Lease one address of each range set."""
    from cni import plan
    from cni_host_local.leases import Leases

    said = settings.read(call)
    dns = _dns(said.resolv_conf)
    leases = Leases(call.attachment, settings.data_dir(call), said.sets, said.requested)
    got: list[Any] = []
    plan.make(_plan(leases, got.extend), call.observe)
    ips = [IPConfig(Prefix(address, member.subnet.length), member.gateway) for member, address in got]
    return Result((), ips, said.routes, dns)


def delete(call: "Call") -> None:
    """Release the attachment's leases; nothing of the configuration but the folder matters, so none of it can prevent it."""
    from cni import plan
    from cni_host_local.leases import Leases

    plan.remove(_plan(Leases(call.attachment, settings.data_dir(call))), call.observe)


def check(call: "Call") -> None:
    """A lease of the attachment must be there for each address of prevResult that is of the ranges; one at least."""
    from cni import plan
    from cni_host_local.leases import Leases

    said = settings.read(call)
    leases = Leases(call.attachment, settings.data_dir(call), said.sets, said.requested, _own(call))
    plan.compare(_plan(leases), call.observe)


def _own(call: "Call") -> "list[Address]":
    """The addresses that prevResult gives this interface, or none in particular."""
    previous = call.previous()
    if previous is None:
        return []
    others = {place for place, interface in enumerate(previous.interfaces) if interface.name != call.attachment.ifname}
    return [ip.address.address for ip in previous.ips if ip.interface not in others]


def gc(call: "Call") -> None:
    """Release the leases whose attachment is not among the valid ones."""
    from cni import valid
    from cni_host_local.leases import Leases

    leases = Leases(call.attachment, settings.data_dir(call))
    for _, content in valid.collect(call, _plan(leases)):
        call.say(f"host-local: released the lease of {content!r} in network {call.network}")


def status(call: "Call") -> None:
    """The configuration must be good, the store writable and ``resolvConf`` readable.

    That addresses may run out is no fault of the node: a full range must not make kubelet evict what runs.
    """
    said = settings.read(call)
    try:
        _dns(said.resolv_conf)
    except CNIError as error:
        raise NotAvailable(error.msg, error.details) from None
    folder = os.path.abspath(f"{settings.data_dir(call)}/{call.network}")
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise NotAvailable(
            f"{folder} is not a folder that can be written", "leases are files there; change ipam.dataDir or mend it"
        )
