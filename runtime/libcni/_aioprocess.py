"""Feed and read a child process under asyncio. Importing asyncio takes 25 ms, so this is imported when it is needed."""

import asyncio

from libcni._cancellation import Deadline
from libcni._process import Child, OutOfTime


async def attend(child: Child, deadline: Deadline) -> None:
    """Feed and read the child until it has ended.

    Raises ``OutOfTime`` or ``TooMuchOutput`` after killing it. Cancelling the task kills it too.
    """
    loop = asyncio.get_running_loop()
    try:
        while not child.over:
            left = deadline.left
            if left == 0:
                if not child.has_answered():
                    raise OutOfTime
                child.kill()
                break
            waits = [wait for wait in (left, child.grace_left) if wait is not None]
            for descriptor in await _readiness(loop, child, min(waits, default=None)):
                child.ready(descriptor)
    except BaseException:
        child.kill()
        raise
    finally:
        child.close()


async def _readiness(loop: asyncio.AbstractEventLoop, child: Child, timeout: float | None) -> set[int]:
    found: set[int] = set()
    woken = asyncio.Event()

    def note(descriptor: int) -> None:
        found.add(descriptor)
        woken.set()

    readable, writable = child.readable, child.writable
    for descriptor in readable:
        loop.add_reader(descriptor, note, descriptor)
    for descriptor in writable:
        loop.add_writer(descriptor, note, descriptor)
    try:
        async with asyncio.timeout(timeout):
            await woken.wait()
    except TimeoutError:
        pass
    finally:
        for descriptor in readable:
            loop.remove_reader(descriptor)
        for descriptor in writable:
            loop.remove_writer(descriptor)
    return found
