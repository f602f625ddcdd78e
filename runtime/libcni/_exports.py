"""Public classes and functions show the module that exports them: ``libcni.CNIConfig``."""

from types import FunctionType
from typing import Any


def show_as_public(package: dict[str, Any]) -> None:
    """Set ``__module__`` of each class and function in ``__all__`` to the package that exports it.

    ``package`` is the package's ``globals()``. Tracebacks, documentation and pickles then contain the public name, not
    that of a private module, which may change.
    """
    for name in package["__all__"]:
        value = package[name]
        if isinstance(value, type | FunctionType):
            value.__module__ = package["__name__"]
