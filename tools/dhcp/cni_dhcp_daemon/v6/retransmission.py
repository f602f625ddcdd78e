"""When a message is sent again: RFC 8415, 15, which holds for router solicitations as well (RFC 7559)."""

import math
from dataclasses import dataclass
from enum import Enum
from random import Random


@dataclass(frozen=True, slots=True)
class Limits:
    """The parameters of one kind of message, in seconds."""

    first: float
    """IRT."""
    longest: float = math.inf
    """MRT."""
    count: float = math.inf
    """MRC."""
    duration: float = math.inf
    """MRD."""
    collect: bool = False
    """Whether the first interval is never shorter than ``first``, because answers are collected (SOLICIT)."""


class Step(Enum):
    """What is to be done now."""

    WAIT = "wait"
    SEND = "send"
    OVER = "over"


class Retransmission:
    """The times at which one message is sent."""

    def __init__(self, limits: Limits, random: Random, begin: float) -> None:
        """The first time is ``begin``."""
        self.limits = limits
        self.next = begin
        self.sent = 0
        self.started = begin
        self._random = random
        self._interval = 0.0

    def step(self, now: float) -> Step:
        """SEND is to be obeyed: the next time follows from it."""
        if now < self.next:
            return Step.WAIT
        if not self.sent:
            self.started = now
        end = self.started + self.limits.duration
        if self.sent >= self.limits.count or (self.sent and now >= end):
            return Step.OVER
        self.sent += 1
        self._interval = self._following()
        self.next = min(now + self._interval, end)
        return Step.SEND

    def _following(self) -> float:
        limits, random = self.limits, self._random.uniform(-0.1, 0.1)
        if self.sent == 1:
            return limits.first * (1 + (abs(random) if limits.collect else random))
        interval = self._interval * (2 + random)
        return interval if interval <= limits.longest else limits.longest * (1 + random)
