"""Convert what callers pass: paths, texts, pairs, configurations.

Where a sequence of texts is wanted, one text is usually accepted as a sequence of one. Where that would be ambiguous it
is a ``TypeError``. It is never used as the sequence of its letters.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from libcni import _gojson

StrPath = str | os.PathLike[str]
Folders = StrPath | Sequence[StrPath]
Texts = str | Sequence[str]
Pairs = Mapping[str, str] | Sequence[tuple[str, str]]
Configuration = bytes | bytearray | memoryview | str | Mapping[str, Any]


def path_of(value: StrPath) -> str:
    """A path as text. Raises ``TypeError`` for anything else."""
    return os.fsdecode(value)


def folders_of(value: Folders) -> tuple[str, ...]:
    """Folders as texts. One path is one folder."""
    if isinstance(value, str | bytes | os.PathLike):
        return (path_of(value),)
    return tuple(path_of(folder) for folder in value)


def plugin_folders(value: Folders) -> tuple[str, ...]:
    """Folders for ``CNI_PATH``. Raises ``ValueError`` for a name with a colon, which separates folders there."""
    folders = folders_of(value)
    for folder in folders:
        if ":" in folder:
            raise ValueError(f"plugin folder {folder!r} has a colon, which separates folders in CNI_PATH: give a list")
    return folders


def texts_of(value: Texts) -> tuple[str, ...]:
    """A sequence of texts. One text is a sequence of one."""
    return (value,) if isinstance(value, str) else tuple(value)


def command_of(value: Sequence[StrPath], name: str) -> tuple[str, ...]:
    """The words of a command. Raises ``TypeError`` for one text: no shell splits it into words."""
    if isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"{name} is a sequence of words, not one text: give {str(value).split()!r}")
    return tuple(path_of(word) for word in value)


def pairs_of(value: Pairs, name: str) -> tuple[tuple[str, str], ...]:
    """Pairs of texts, from a mapping or a sequence of pairs. Raises ``TypeError`` for anything else."""
    items: Any = value.items() if isinstance(value, Mapping) else value
    found = []
    for pair in items if isinstance(items, Iterable) and not isinstance(items, str | bytes) else [items]:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise TypeError(f"{name} is a mapping of texts or a sequence of pairs of texts: {pair!r} is no pair")
        found.append((pair[0], pair[1]))
    return tuple(found)


def members_of(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The same mapping. Raises ``TypeError`` for anything else."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping, not {type(value).__name__}")
    return value


def data_of(value: Configuration) -> bytes:
    """A configuration as JSON in bytes. A mapping is encoded.

    Raises ``TypeError`` for another type, and ``TypeError`` or ``ValueError`` for a mapping that JSON cannot express.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping):
        return _gojson.encode(dict(value), sort=False)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"a configuration is bytes, text or a mapping, not {type(value).__name__}")
