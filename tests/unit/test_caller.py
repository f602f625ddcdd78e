"""Who called a fork server, as far as it can be told without one."""

import os
import subprocess

import pytest

from cni_forkserver.peer import Caller, Refused, privileges


def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("pid", "said"), [(0, "another PID namespace"), (ended(), "the caller is gone")], ids=["another namespace", "ended"]
)
def test_a_caller_that_cannot_be_held_is_refused_when_its_call_has_been_read(pid: int, said: str) -> None:
    """Not before: a socket that is closed with something unread takes the answer with it."""
    caller = Caller(pid)
    with pytest.raises(Refused, match=said):
        caller.verify(privileges("self"), pid)


def test_this_process_may_have_what_it_has_itself() -> None:
    caller = Caller(os.getpid())
    caller.verify(privileges("self"), os.getpid())
    caller.must_be_alive()
