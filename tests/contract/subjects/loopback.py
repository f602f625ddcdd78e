"""loopback: it reads no key of its own, and changes the container alone."""

from pathlib import Path

from contract.subject import Network, Subject


class Loopback(Subject):
    """``lo`` up in the container."""

    type = "loopback"
    working = {"prevResult": None}
    in_container = True

    def networks(self, store: Path) -> dict[str, Network]:
        """There is one."""
        return {"usual": Network({"type": "loopback"}, leaves={"lo"}, go=True, back=True)}


SUBJECT = Loopback()
