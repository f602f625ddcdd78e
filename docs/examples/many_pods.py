"""Attach several pods to one network at once, under asyncio: all of them or none."""

import asyncio
from collections.abc import Sequence

from libcni import AsyncCNI, AsyncCNIConfig, LibcniError, NetworkConfigList, Options, Result, RuntimeConf


def library(plugins: str = "/opt/cni/bin", cache: str = "") -> AsyncCNIConfig:
    """The library. An ADD that fails or is cancelled is undone, unless the pod was attached before."""
    return AsyncCNIConfig(plugins, cache, options=Options(undo_failed_add=True))


async def attach(cni: AsyncCNI, net: NetworkConfigList, pods: Sequence[RuntimeConf]) -> list[Result]:
    """Attach all pods. If one fails, cancel the others, and detach those that are attached."""
    tasks: list[asyncio.Task[Result]] = []
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks += [group.create_task(cni.add_network_list(net, pod)) for pod in pods]
    except BaseException as error:
        for pod, task in zip(pods, tasks, strict=False):
            if not task.cancelled() and task.exception() is None:
                try:
                    await cni.del_network_list(net, pod)
                except LibcniError as failed:  # go on with the other pods
                    error.add_note(f"{pod.container_id} is attached still: {failed}")
        raise
    return [task.result() for task in tasks]


async def left_over(cni: AsyncCNI, running: set[str]) -> list[str]:
    """The containers that have an attachment and do not run any more. The event loop does not wait for the disk."""
    cached = await cni.get_cached_attachments()
    return [attachment.container_id for attachment in cached if attachment.container_id not in running]
