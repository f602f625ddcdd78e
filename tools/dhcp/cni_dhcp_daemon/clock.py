"""The time of leases: seconds since boot, which continue while the node sleeps and when the daemon starts again."""

import time


def now() -> float:
    """The time (CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot(proc: str = "/proc") -> str:
    """The id of this boot: times of another boot mean nothing."""
    with open(f"{proc}/sys/kernel/random/boot_id") as file:
        return file.read().strip()
