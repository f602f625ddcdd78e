"""Networks that follow their folder, in a program under asyncio."""

import asyncio

from libcni import LibcniError
from libcni.containerd import AsyncContainerd, Watcher, with_default_conf, with_plugin_conf_dir


async def follow(folder: str, ready: "asyncio.Queue[bool]") -> None:
    """Put into ``ready`` whether there is a network, at first and after each change, until cancelled."""
    loop = asyncio.get_running_loop()
    cni = AsyncContainerd(with_plugin_conf_dir(folder))

    def on_load(error: LibcniError | None) -> None:
        # The first load is in the thread that makes the watcher, the others in the watcher's own: nothing but
        # call_soon_threadsafe may touch the loop from there. An exception that is raised here becomes last_error.
        loop.call_soon_threadsafe(ready.put_nowait, error is None)

    # Making it loads, and closing it waits for its thread: both may wait for a disk.
    watcher = await asyncio.to_thread(Watcher, cni, folder, with_default_conf, on_load=on_load)
    try:
        await loop.create_future()
    finally:
        await asyncio.to_thread(watcher.close)
