"""netavark's driver starts without what takes long to import, and its objects work all the same."""

import subprocess
import sys
from dataclasses import dataclass as real_dataclass
from dataclasses import field as real_field
from dataclasses import replace as real_replace
from typing import Any

import pytest
from roots import source_roots

from cni_netavark import lean

# Each takes longer to import than the driver itself.
SLOW = ("typing", "dataclasses", "json", "re", "enum", "logging", "asyncio", "subprocess", "inspect", "pathlib")
CODE = """
import sys
sys.path[:0] = {paths}
from cni_netavark import lean
calls = lean.load("cni_netavark.calls")
print(*[name for name in {slow} if name in sys.modules])
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar
import collections.abc, functools
print(functools.wraps.__name__, collections.OrderedDict.__name__, fields.__name__, TypeVar("T").__name__)
from libcni import GCAttachment, NetworkConfigList, RuntimeConf
print(GCAttachment("a", "b") in {{GCAttachment("a", "b")}}, RuntimeConf("a").container_id, NetworkConfigList("n").plugins)
"""


def test_what_the_driver_imports() -> None:
    """Nothing slow, and the real modules are there for whoever imports them later."""
    code = CODE.format(paths=list(map(str, source_roots())), slow=SLOW)
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", "wraps OrderedDict fields T", "True a ()"]


def made(decorate: Any, field: Any) -> Any:
    """A class with a default, a default that is made, and a check."""

    class Thing:
        name: str
        size: int = 1
        parts: list[str] = field(default_factory=list)

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError(self.size)

    return decorate(frozen=True)(Thing)


@pytest.mark.parametrize("real", [True, False])
def test_the_stand_in_for_dataclass(real: bool) -> None:
    """It does what the real one does, as far as it is used."""
    thing = made(real_dataclass, real_field) if real else made(lean.dataclass, lean.field)
    replace: Any = real_replace if real else lean.replace
    one = thing("a", parts=["x"])
    assert (one.name, one.size, one.parts, thing("b").parts) == ("a", 1, ["x"], [])
    assert thing("b").parts is not thing("b").parts
    assert replace(one, size=2) == thing("a", 2, ["x"]) != one
    assert "name='a', size=1, parts=['x'])" in repr(one)
    assert hash(thing("a", 1, ())) == hash(thing("a", 1, ()))
    with pytest.raises(ValueError, match="-1"):
        thing("a", -1)
    for wrong in (lambda: thing("a", 1, [], 4), lambda: thing("a", colour=1), thing):
        with pytest.raises((TypeError, AttributeError)):
            wrong()
