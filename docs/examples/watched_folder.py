"""Load the networks again when their folder changes, in a program under asyncio."""

import asyncio

from libcni import LibcniError
from libcni.containerd import AsyncContainerd, Watcher, with_default_conf, with_plugin_conf_dir


async def follow(folder: str, ready: "asyncio.Queue[bool]") -> None:
    """Put into ``ready`` whether a network is loaded, now and after each change, until cancelled."""
    loop = asyncio.get_running_loop()
    cni = AsyncContainerd(with_plugin_conf_dir(folder))

    def on_load(error: LibcniError | None) -> None:
        # This runs in another thread than the event loop, so it may only use call_soon_threadsafe. An exception that
        # it raises becomes last_error.
        loop.call_soon_threadsafe(ready.put_nowait, error is None)

    # Watcher() loads the networks, and close() waits for its thread. Both may wait for a disk.
    watcher = await asyncio.to_thread(Watcher, cni, folder, with_default_conf, on_load=on_load)
    try:
        await loop.create_future()
    finally:
        await asyncio.to_thread(watcher.close)
