"""What callers hand in, in the forms that they have it: paths, texts, pairs, configurations.

One text stands for a sequence of one where that is what people mean. Where it is not, it is refused: a text is a
sequence of its letters, and would be taken for one.
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
    """A path as text. Raises ``TypeError`` for what is no path."""
    return os.fsdecode(value)


def folders_of(value: Folders) -> tuple[str, ...]:
    """Folders as texts; one path is one folder."""
    if isinstance(value, str | bytes | os.PathLike):
        return (path_of(value),)
    return tuple(path_of(folder) for folder in value)


def plugin_folders(value: Folders) -> tuple[str, ...]:
    """Folders that ``CNI_PATH`` can name. Raises ``ValueError`` for one with a colon: plugins would find two in it."""
    folders = folders_of(value)
    for folder in folders:
        if ":" in folder:
            raise ValueError(f"plugin folder {folder!r} has a colon, which separates folders in CNI_PATH: give a list")
    return folders


def texts_of(value: Texts) -> tuple[str, ...]:
    """Texts; one is a sequence of one."""
    return (value,) if isinstance(value, str) else tuple(value)


def command_of(value: Sequence[StrPath], name: str) -> tuple[str, ...]:
    """The words of a command. Raises ``TypeError`` for one text: no shell takes it apart."""
    if isinstance(value, str | bytes | os.PathLike):
        raise TypeError(f"{name} is a sequence of words, not one text: give {str(value).split()!r}")
    return tuple(path_of(word) for word in value)


def pairs_of(value: Pairs, name: str) -> tuple[tuple[str, str], ...]:
    """Pairs of texts, of a mapping or in order. Raises ``TypeError`` for anything else."""
    items: Any = value.items() if isinstance(value, Mapping) else value
    found = []
    for pair in items if isinstance(items, Iterable) and not isinstance(items, str | bytes) else [items]:
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise TypeError(f"{name} is a mapping of texts or a sequence of pairs of texts: {pair!r} is no pair")
        found.append((pair[0], pair[1]))
    return tuple(found)


def members_of(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping, taken as it is. Raises ``TypeError`` for anything else."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is a mapping, not {type(value).__name__}")
    return value


def data_of(value: Configuration) -> bytes:
    """A configuration as bytes: JSON, or a document that becomes JSON.

    Raises ``TypeError`` for what is neither, ``TypeError`` and ``ValueError`` for a document that JSON cannot hold.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping):
        return _gojson.encode(dict(value), sort=False)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"a configuration is bytes, text or a mapping, not {type(value).__name__}")
