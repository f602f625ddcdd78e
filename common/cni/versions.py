"""The versions of the CNI specification and their verbs, and the version of pycni."""

from cni.errors import DecodingFailure, IncompatibleVersion

# The version of pycni; pyproject.toml reads it here.
RELEASE = "0.1.0"
KNOWN = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
CURRENT = "1.1.0"
# The versions with the same shape of results; an empty version counts as 0.1.0.
FAMILIES = (("", "0.1.0", "0.2.0"), ("0.3.0", "0.3.1", "0.4.0"), ("1.0.0", "1.1.0"))
# The first version that has the verb.
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}


def number(text: str) -> tuple[int, int, int]:
    """``1.1`` as (1, 1, 0): one to three integers, missing ones are 0, the empty text is 0.1.0.

    Raises ``DecodingFailure`` with the same faults as the Go library.
    """
    parts = (text or "0.1.0").split(".")
    if len(parts) > 3:
        raise DecodingFailure(f'invalid version "{text}": too many parts')
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise DecodingFailure(f'invalid version "{text}": its parts must be integers')
    numbers = [int(part) for part in parts] + [0, 0]
    return numbers[0], numbers[1], numbers[2]


def family(version: str) -> tuple[str, ...]:
    """The versions whose results have the shape of ``version``'s; empty for an unknown version."""
    return next((members for members in FAMILIES if version in members), ())


def gate(verb: str, version: str) -> None:
    """Raise ``IncompatibleVersion`` unless a configuration of ``version`` may be used with ``verb``.

    The version must be in ``KNOWN`` literally (``1.1`` is not); for CHECK, GC and STATUS it is compared by number first.
    """
    if verb in SINCE:
        if number(version) < number(SINCE[verb]):
            fault = f"config version does not allow {verb}"
            raise IncompatibleVersion(fault, f'cniVersion is "{version}", {verb} exists since {SINCE[verb]}')
        if number(version) > number(CURRENT):
            raise IncompatibleVersion(f"plugin version does not allow {verb}")
    if version not in KNOWN:
        supported = " ".join(f'"{known}"' for known in KNOWN)
        raise IncompatibleVersion("incompatible CNI versions", f'config is "{version}", plugin supports [{supported}]')
