"""The sysctls that the node allows: /etc/cni/tuning/allowlist.conf has a regular expression in each line.

It may match anywhere in a key as it is written. The syntax is Python's, with Go's POSIX classes and ``\\z``.
"""

from cni.errors import CNIError, InvalidConfig
from cni.file_content import read

_GO = {
    "[:alnum:]": "0-9A-Za-z", "[:alpha:]": "A-Za-z", "[:digit:]": "0-9", "[:lower:]": "a-z", "[:space:]": r"\s",
    "[:upper:]": "A-Z", "[:word:]": r"\w", "[:xdigit:]": "0-9A-Fa-f", r"\z": r"\Z",
}  # fmt: skip


def check(names: "dict[str, str] | list[str]", etc: str) -> None:
    """Raise ``InvalidConfig`` for a sysctl that is not allowed. Without the file everything is allowed."""
    path = f"{etc}/tuning/allowlist.conf"
    try:
        text = read(path, 1 << 20).decode("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise CNIError(f"cannot read {path}: {error}", "it has the sysctls that are allowed") from None
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for name in names:
        if not any(_matches(line, name, path) for line in lines):
            fault = f"Sysctl {name} is not allowed. Only the following sysctls are allowed: [{' '.join(lines)}]"
            raise InvalidConfig(fault, f"add it to {path}, or remove it from the configuration")


def _matches(line: str, name: str, path: str) -> bool:
    import re

    expression = line
    for go, ours in _GO.items():
        expression = expression.replace(go, ours)
    try:
        return re.search(expression, name, re.ASCII) is not None
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidConfig(f"error parsing regexp: {error}: `{line}`", f"correct the line in {path}") from None
