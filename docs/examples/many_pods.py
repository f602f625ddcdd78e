"""Pods of one network, attached at once under asyncio: all of them or none."""

import asyncio
from collections.abc import Sequence

from libcni import AsyncCNI, AsyncCNIConfig, NetworkConfigList, Result, RuntimeConf


async def attach(cni: AsyncCNI, net: NetworkConfigList, pods: Sequence[RuntimeConf]) -> list[Result]:
    """ADD of all pods. When one fails the others are cancelled, and what was attached is detached again."""
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(cni.add_network_list(net, pod)) for pod in pods]
    except BaseException:
        for pod in pods:  # also of an ADD that failed or was cancelled: the specification asks for it
            await cni.del_network_list(net, pod)
        raise
    return [task.result() for task in tasks]


async def left_over(cni: AsyncCNIConfig, living: set[str]) -> list[str]:
    """Containers that have an attachment and are gone; also the cache is read without holding up the loop."""
    return [one.container_id for one in await cni.get_cached_attachments() if one.container_id not in living]
