"""The SELinux context in which this thread executes the next program (proc_pid_attr(5))."""

import os

from cni.errors import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class ExecutedAs:
    """``with ExecutedAs(context, "/proc"):`` programs executed inside run in that context. Raises ``CNIError``."""

    __slots__ = ("context", "path")

    def __init__(self, context: str, proc: str) -> None:
        self.context = context
        self.path = f"{proc}/thread-self/attr/exec"

    def __enter__(self) -> None:
        with Step("failed set socket label", "this needs SELinux on the node, and a context of its policy"):
            self._write(self.context.encode("utf-8", "surrogateescape"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: "TracebackType | None"
    ) -> None:
        # executing a program in a child does not clear it here
        self._write(b"\0")

    def _write(self, value: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value)
        finally:
            os.close(fd)
