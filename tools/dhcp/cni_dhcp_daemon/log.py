"""Lines for people on standard error, with date and time, as Go's daemon writes them."""

import sys
import time


def say(line: str) -> None:
    """Print a line. Standard error may be closed."""
    try:
        sys.stderr.write(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
