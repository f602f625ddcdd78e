"""Pods of one network, attached at once under asyncio: all of them or none."""

import asyncio
from collections.abc import Sequence

from libcni import AsyncCNI, AsyncCNIConfig, LibcniError, NetworkConfigList, Options, Result, RuntimeConf


def library(plugins: str = "/opt/cni/bin", cache: str = "") -> AsyncCNIConfig:
    """An ADD that fails or is cancelled undoes itself, and leaves alone a pod that was attached before."""
    return AsyncCNIConfig(plugins, cache, options=Options(undo_failed_add=True))


async def attach(cni: AsyncCNI, net: NetworkConfigList, pods: Sequence[RuntimeConf]) -> list[Result]:
    """ADD of all pods. When one fails the others are cancelled, and what was attached is detached again."""
    tasks: list[asyncio.Task[Result]] = []
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks += [group.create_task(cni.add_network_list(net, pod)) for pod in pods]
    except BaseException as error:
        for pod, task in zip(pods, tasks, strict=False):
            if not task.cancelled() and task.exception() is None:
                try:
                    await cni.del_network_list(net, pod)
                except LibcniError as failed:  # the other pods are detached all the same
                    error.add_note(f"{pod.container_id} is attached still: {failed}")
        raise
    return [task.result() for task in tasks]


async def left_over(cni: AsyncCNI, living: set[str]) -> list[str]:
    """Containers that have an attachment and are gone; also the cache is read without holding up the loop."""
    return [one.container_id for one in await cni.get_cached_attachments() if one.container_id not in living]
