"""What the library writes to ``logging``, under the name ``libcni``.

DEBUG has each run of a plugin with its time, INFO the watcher's loads, WARNING what was repaired or skipped. Where
nobody has imported ``logging`` nobody listens, and it is not imported for this. Without a handler nothing is printed.
"""

import sys
from time import monotonic

from libcni._requests import Execute, Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from logging import Logger

NAME = "libcni"


def _logger() -> "Logger | None":
    if "logging" not in sys.modules:
        return None
    import logging

    logger = logging.getLogger(NAME)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else warnings go to standard error
    return logger


def debug(text: str, *values: object) -> None:
    """A step."""
    if logger := _logger():
        logger.debug(text, *values)


def info(text: str, *values: object) -> None:
    """Something that changed."""
    if logger := _logger():
        logger.info(text, *values)


def warning(line: str) -> None:
    """Something that somebody should look at."""
    if logger := _logger():
        logger.warning("%s", line)


def executed(request: Execute) -> Operation[bytes]:
    """The run of a plugin, with a line when it has ended."""
    environ = request.environ
    words = (environ["CNI_COMMAND"], request.path, environ["CNI_CONTAINERID"], environ["CNI_IFNAME"])
    what = " ".join(word for word in words if word and word != "dummy")
    begun = monotonic()
    try:
        output: bytes = yield request
    except BaseException as error:
        debug("%s: failed after %.3f s: %s", what, monotonic() - begun, str(error) or type(error).__name__)
        raise
    debug("%s: %.3f s", what, monotonic() - begun)
    return output
