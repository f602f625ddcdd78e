"""Decorators that give a test each network of each subject.

Where the kernel cannot make a subject's links, the test runs in the guest, which has all of them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.subject import SUBJECTS, Network, Subject, lacking


def _marked(subject: Subject, *network: str) -> Any:
    marks = [pytest.mark.guest] if subject.kind else []
    if lacking(subject.kind):
        marks.append(pytest.mark.skip(reason=f"the kernel has no {subject.kind}: make test-guest"))
    return pytest.param(subject, *network, id="-".join((subject.type, *network)), marks=marks)


def each_made(function: Any) -> Any:
    """Give a test each subject; without a network."""
    return pytest.mark.parametrize("subject", [_marked(subject) for subject in SUBJECTS])(function)


def each_network(function: Any) -> Any:
    """Give a test each network of each subject."""
    return _networks(function, lambda network: True)


def each_distinct_network(function: Any) -> Any:
    """The same without those that leave what another one leaves too."""
    return _networks(function, lambda network: not network.variant)


def each_swapped_network(function: Any) -> Any:
    """Give a test each network that Go's plugin understands too."""
    return _networks(function, lambda network: network.go)


def each_returned_network(function: Any) -> Any:
    """Give a test each network whose things Go's DEL removes."""
    return _networks(function, lambda network: network.back)


def each_member_network(function: Any) -> Any:
    """Give a test each distinct network that may be the list of a chain, which is all but a chain's and those that are apart."""
    return _networks(
        function,
        lambda network: (
            not (network.variant or network.apart or any(plugin["type"] == "chain" for plugin in network.plugins))
        ),
    )


def _networks(function: Any, wanted: Callable[[Network], bool]) -> Any:
    found = [
        _marked(subject, name)
        for subject in SUBJECTS
        for name, network in subject.networks(Path("/nowhere")).items()
        if wanted(network)
    ]
    return pytest.mark.parametrize(("subject", "network"), found)(function)
