"""Public names say where they are imported from: ``libcni.CNIConfig``, not ``libcni._cniconfig.CNIConfig``."""

from types import FunctionType
from typing import Any


def show_as_public(package: dict[str, Any]) -> None:
    """Set ``__module__`` of each class and function in ``__all__`` to the package that exports it.

    ``package`` is the package's ``globals()``. Tracebacks, documentation and pickles then hold the public name, so
    that a private module can be renamed.
    """
    for name in package["__all__"]:
        value = package[name]
        if isinstance(value, type | FunctionType):
            value.__module__ = package["__name__"]
