"""The library's log messages, under the logger ``libcni``.

DEBUG: each run of a plugin, with its time. INFO: the watcher's loads. WARNING: what was repaired or skipped. If the
program has not imported ``logging``, nothing is logged: importing it would only take time. Without a handler nothing is
printed.
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
        logger.addHandler(logging.NullHandler())  # without a handler, logging prints warnings to standard error
    return logger


def debug(text: str, *values: object) -> None:
    """Log a step of a call."""
    if logger := _logger():
        logger.debug(text, *values)


def info(text: str, *values: object) -> None:
    """Log a change."""
    if logger := _logger():
        logger.info(text, *values)


def warning(line: str) -> None:
    """Log what an operator should look at."""
    if logger := _logger():
        logger.warning("%s", line)


def logged(request: Execute) -> Operation[bytes]:
    """Run a plugin, and log a line when it has ended."""
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
