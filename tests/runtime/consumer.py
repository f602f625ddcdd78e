"""What somebody who uses the library may write: it is checked with mypy --strict and with pyright, and the test runs those."""

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

from libcni import (
    CNI,
    AsyncCNI,
    AsyncCNIConfig,
    AsyncExec,
    Cancellation,
    CNIConfig,
    ConfigError,
    Deadline,
    Exec,
    GCArgs,
    GCAttachment,
    Interface,
    IPConfig,
    NetworkAttachment,
    NetworkConfigList,
    Options,
    PluginFinder,
    Result,
    Route,
    RuntimeConf,
    Threaded,
    __version__,
    code_of,
    load_network_conf,
)
from libcni.containerd import (
    AsyncContainerd,
    Containerd,
    ContainerdCNI,
    NamespaceOpt,
    Opt,
    PortMapping,
    Watcher,
    new,
    with_capability_port_map,
    with_default_conf,
    with_labels,
    with_lo_network,
    with_options,
)


class Recording(PluginFinder):
    """An executor of the consumer's own."""

    def __init__(self, inner: Exec) -> None:
        self.inner = inner
        self.seen: list[str] = []

    def exec_plugin(
        self, path: str, stdin: bytes, environ: dict[str, str], deadline: Deadline, cancel: Cancellation | None
    ) -> bytes:
        self.seen.append(path)
        return self.inner.exec_plugin(path, stdin, environ, deadline, cancel)


class Fake:
    """A replacement of one call for the consumer's own tests."""

    def __init__(self, real: CNI) -> None:
        self.get_network_list_cached_result = real.get_network_list_cached_result


def attach(cni: CNI, net: NetworkConfigList, runtime: RuntimeConf) -> list[str]:
    result: Result = cni.add_network_list(net, runtime, timeout=5)
    cached = cni.get_network_list_cached_config(net, runtime)
    raw: bytes = cached[0] if cached is not None else b""
    previous = cni.get_network_list_cached_result(net, runtime)
    return [str(ip.address) for ip in result.ips] + ([raw.decode()] if previous else [])


async def attach_many(cni: AsyncCNI, net: NetworkConfigList, runtimes: Sequence[RuntimeConf]) -> list[Result]:
    return list(await asyncio.gather(*(cni.add_network_list(net, runtime) for runtime in runtimes)))


def addresses(result: Result) -> dict[IPConfig, IPv4Interface | IPv6Interface]:
    """Parts of a result may be keys, and give the standard library's objects."""
    gateways: list[IPv4Address | IPv6Address] = [ip.gateway.ipaddress for ip in result.ips if ip.gateway is not None]
    links: set[Interface] = set(result.interfaces)
    ways: set[Route] = set(result.routes)
    print(gateways, links, ways, result.dns == result.dns)
    return {ip: ip.address.ipaddress for ip in result.ips}


async def left_over(cni: AsyncCNI, net: NetworkConfigList, runtime: RuntimeConf) -> list[NetworkAttachment]:
    previous = await cni.get_network_list_cached_result(net, runtime)
    cached = await cni.get_network_list_cached_config(net, runtime)
    print(addresses(previous) if previous is not None else __version__, cached[0] if cached is not None else b"")
    return await cni.get_cached_attachments()


def collect(cni: CNI, nets: Sequence[NetworkConfigList]) -> int | None:
    try:
        cni.gc_network_lists(nets, {"a": GCArgs([GCAttachment("c", "eth0")]), "b": list})
        cni.gc_network_list(nets[0], lambda: [one.gc_attachment() for one in cni.get_cached_attachments()])
        cni.del_cached_attachments("c")
    except Exception as error:
        return code_of(error)
    return None


async def valid() -> GCArgs:
    return GCArgs([])


async def visit(cni: AsyncCNI, net: NetworkConfigList, runtime: RuntimeConf) -> int:
    async with cni.attached(net, runtime, timeout=5) as result:
        await cni.gc_network_list(net, valid)
        return len(result.ips)


def pod(cni: ContainerdCNI, path: str) -> str:
    opts: list[NamespaceOpt] = [with_labels({"a": "b"}), with_capability_port_map([PortMapping(80, 80)])]
    with cni.attached("other", path) as found:
        print(found.interfaces)
    cni.remove_cached("other")
    return cni.setup("id", path, *opts).interfaces["eth0"].ip_configs[0].ip


def main(executor: Exec, other: AsyncExec) -> None:
    options = Options(undo_failed_add=True, report=print)
    cni: CNI = CNIConfig(["/opt/cni/bin"], executor=Recording(executor), options=options)
    awaited: AsyncCNI = AsyncCNIConfig(["/opt/cni/bin"], executor=other)
    awaited = AsyncCNIConfig(["/opt/cni/bin"], executor=Threaded(executor))
    loads: list[Opt] = [with_lo_network, with_default_conf, with_options(options)]
    service: ContainerdCNI = new(*loads)
    service = Containerd(*loads, executor=executor)
    try:
        skipped: list[ConfigError] = []
        net = load_network_conf("/etc/cni/net.d", "net", skipped=skipped.append)
    except ConfigError as error:
        print(error.file, error.position and error.position.line)
        return
    print(attach(cni, net, RuntimeConf("c", "/run/netns/c", "eth0")), collect(cni, [net]), pod(service, "/x"))
    asyncio.run(attach_many(awaited, net, []))
    asyncio.run(left_over(awaited, net, RuntimeConf("c")))
    with Watcher(AsyncContainerd(), "/etc/cni/net.d", with_default_conf) as watcher:
        print(watcher.last_error, [str(error) for error in watcher.skipped])
