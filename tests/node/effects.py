"""Effects in tests: differences are raised, and a container may be pretended."""

from types import SimpleNamespace

import pytest

from cni.address import Address
from cni.errors import CNIError
from cni.site import Site


def raising(difference: CNIError) -> None:
    """A ``Differ`` that ends the comparison with the first difference, as CHECK does."""
    raise difference


def beside(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    """Let every container's namespace have these addresses on its other interfaces."""
    namespace = SimpleNamespace(addresses_beside=lambda ifname: set(addresses)) if addresses else None
    monkeypatch.setattr(Site, "remaining", property(lambda site: namespace))
