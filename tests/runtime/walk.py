"""Every public call of the library, made with folders that cannot be used: which errors leave it.

Run as a program it walks where only a process of its own can be: without rights, or without free descriptors.
"""

import asyncio
import inspect
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any

import libcni
import libcni._aiodriver
import libcni._aioprocess
from libcni import (
    AsyncCNIConfig,
    CNIConfig,
    CNIError,
    GCArgs,
    LibcniError,
    NetworkConfig,
    NetworkConfigList,
    Options,
    RuntimeConf,
    network_conf_from_bytes,
)
from libcni.containerd import (
    AsyncContainerd,
    Containerd,
    Watcher,
    new,
    with_cache_dir,
    with_conf_list_bytes,
    with_default_conf,
    with_options,
    with_plugin_conf_dir,
    with_plugin_dir,
)

NET = {"name": "net1", "cniVersion": "1.1.0", "plugins": [{"type": "one", "name": "net1", "cniVersion": "1.1.0"}]}


def plugin(folder: Path) -> Path:
    """A folder with a plugin that succeeds, and is quick."""
    folder.mkdir()
    (folder / "one").write_text("""#!/bin/sh\necho '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'\n""")
    (folder / "one").chmod(0o755)
    return folder


class Walk:
    """The calls with one folder for each purpose."""

    def __init__(self, plugins: Any, cache: Any, locks: Any, configurations: Any) -> None:
        net = network_conf_from_bytes(NET)
        self.loop = asyncio.new_event_loop()
        self.configurations = configurations
        self.values: dict[str, Any] = {
            "net": net,
            "nets": [net],
            "runtime": RuntimeConf("c1", "/x", "eth0"),
            "args": GCArgs([]),
            "container_id": "c1",
            "plugin": "one",
            "id": "c1",
            "path": "/x",
            "opts": [],
            "folder": configurations,
            "file": f"{configurations}/10.conflist",
            "name": "net1",
            "suffixes": (".conf",),
            "data": json.dumps(NET["plugins"][0]),  # type: ignore[index]
            "config": net.plugins[0],
            "single": net.plugins[0],
            "values": {"a": 1},
        }
        options = Options(lock_folder=locks, lock_timeout=0.0, report=_raising, timeout=30)
        second = network_conf_from_bytes({**NET, "name": "net2"})
        opts = [
            with_plugin_dir(plugins),
            with_cache_dir(cache),
            with_options(options),
            with_plugin_conf_dir(configurations),
        ]
        opts += [with_conf_list_bytes(net.bytes), with_conf_list_bytes(second.bytes)]
        self.subjects: list[Any] = [
            CNIConfig(plugins, cache, options=options),
            AsyncCNIConfig(plugins, cache, options=options),
            Containerd(*opts),
            AsyncContainerd(*opts),
        ]

    def calls(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Each call under its name."""
        for name in libcni.__all__:
            function = getattr(libcni, name)
            if inspect.isfunction(function) and not name.startswith(("is_", "code_of")):
                yield name, self._call(function)
        for subject in self.subjects:
            for name, method in inspect.getmembers(subject, inspect.ismethod):
                if not name.startswith("_"):
                    opts = [with_default_conf] if name == "load" else []
                    yield f"{type(subject).__name__}.{name}", self._call(method, opts)
        yield "Watcher", lambda: Watcher(new(), self.configurations).close()

    def _call(self, function: Callable[..., Any], opts: list[Any] | None = None) -> Callable[[], object]:
        positional, named = [], {}
        for one in inspect.signature(function).parameters.values():
            if one.kind == one.VAR_POSITIONAL:
                positional += opts or []
            elif one.default is not one.empty and (one.name == "file" or one.name not in self.values):
                continue
            elif one.annotation is NetworkConfig and one.name == "net":
                positional.append(self.values["net"].plugins[0])
            elif one.kind == one.KEYWORD_ONLY:
                named[one.name] = self.values[one.name]
            else:
                positional.append(self.values[one.name])
        assert not any(isinstance(value, NetworkConfigList) and not value.plugins for value in positional)
        return lambda: self._ended(function(*positional, **named))

    def _ended(self, answer: Any) -> object:
        if inspect.iscoroutine(answer):
            return self.loop.run_until_complete(answer)
        if isinstance(answer, AbstractContextManager):
            with answer:
                return None
        if isinstance(answer, AbstractAsyncContextManager):
            return self.loop.run_until_complete(_entered(answer))
        return answer

    def escaped(self) -> tuple[set[str], list[str]]:
        """The errors that were raised as promised, and what else left a call."""
        promised, others = set(), []
        for label, call in self.calls():
            try:
                call()
            except (LibcniError, CNIError) as error:
                promised.add(type(error).__name__)
            except Exception as error:
                others.append(f"{label}: {type(error).__name__}: {error}")
        return promised, others


async def _entered(manager: AbstractAsyncContextManager[Any]) -> None:
    async with manager:
        pass


def _raising(line: str) -> None:
    raise RuntimeError(line)


def _without_rights(base: Path, plugins: Path) -> None:
    os.chmod(base, 0o755)
    closed = base / "closed"
    closed.mkdir(0o700)
    (closed / "x").mkdir()
    walks = [Walk(plugins, closed / "c", closed / "l", closed / "x"), Walk(closed, base / "c", base / "l", closed)]
    os.seteuid(65534)
    try:
        for walk in walks:
            print(walk.escaped()[1])
    finally:
        os.seteuid(0)


def _without_descriptors(base: Path, plugins: Path) -> None:
    configurations = base / "net.d"
    configurations.mkdir()
    (configurations / "10.conflist").write_text(json.dumps(NET))
    walk = Walk(plugins, base / "c", base / "l", configurations)
    print(walk.escaped()[1])  # what is imported late is imported now
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for free in (0, 1, 2, 3, 5, 7, 9):
        used = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, most))
        others = walk.escaped()[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
        print(others)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        base = Path(made)
        how = {"rights": _without_rights, "descriptors": _without_descriptors}[sys.argv[1]]
        how(base, plugin(base / "plugins"))
