"""Results: read from plugins and from the cache, and sent as ``prevResult``.

As in Go, only the fields of the specification are kept. A result has a version of its own, which may differ from that of
the configuration (SPEC.md, "Success").
"""

from dataclasses import dataclass, field
from typing import Any

from cni import result as shapes
from cni import versions
from cni.errors import CNIError
from libcni import _gojson
from libcni._errors import ResultError

DNS = shapes.DNS
Interface = shapes.Interface
IPConfig = shapes.IPConfig
Route = shapes.Route


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    """The result of ADD: ``version`` (``cniVersion``), and ``content`` with the interfaces, addresses, routes and DNS.

    Two results are equal if their documents are.
    """

    version: str = "0.1.0"
    content: shapes.Result = field(default_factory=shapes.Result)

    def __eq__(self, other: object) -> bool:
        return self.document() == other.document() if isinstance(other, Result) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        return f"<Result {self.encode().decode()}>"

    @property
    def interfaces(self) -> list[Interface]:
        """The interfaces. Those without ``sandbox`` are on the host."""
        return list(self.content.interfaces)

    @property
    def ips(self) -> list[IPConfig]:
        """The addresses. ``interface`` is an index into ``interfaces``."""
        return list(self.content.ips)

    @property
    def routes(self) -> list[Route]:
        """The routes in the container."""
        return list(self.content.routes)

    @property
    def dns(self) -> DNS:
        """Name servers and search domains."""
        return self.content.dns

    def document(self) -> dict[str, Any]:
        """The JSON object in the result's own version. Its keys have Go's order."""
        if self.version in versions.FAMILIES[0]:
            return self.content.oldest(self.version, as_read=True)
        document = self.content.document(self.version)
        if self.version in versions.FAMILIES[1]:
            for printed, ip in zip(document.get("ips", ()), self.content.ips, strict=True):
                printed["version"] = ip.stated
        return document

    def as_version(self, version: str) -> "Result":
        """Convert the result to another version (empty: 0.1.0). Fields that the version does not have are lost.

        Raises ``ResultError`` for an unknown version, and for 0.1.0 and 0.2.0 if there is no address.
        """
        version = version or "0.1.0"
        if version == self.version:
            return self
        if version not in versions.KNOWN:
            raise ResultError(f"no converter for CNI result version {self.version} to {version}")
        try:
            older, newer = versions.family(self.version), versions.family(version)
            if older == newer or (older, newer) == versions.FAMILIES[:2]:
                return Result(version, self.content)  # nothing is lost, and the addresses keep their stated family
            return Result(version, shapes.parse(self.content.document(version), version))
        except CNIError as error:
            raise ResultError(str(error)) from None

    def encode(self, indent: int = 0) -> bytes:
        """The JSON text. From 1.0.0 on, keys are sorted; before, they have Go's order."""
        return _gojson.encode(self.document(), sort=self.version in versions.FAMILIES[2], indent=indent)


def parse(data: bytes, config_version: str) -> Result:
    """Parse the output of ADD. A result without a version has that of the configuration. Raises ``ResultError``."""
    try:
        document = _gojson.decode(data)
    except _gojson.JSONError as error:
        raise ResultError(f"failed to unmarshal raw result: {error}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ResultError("failed to unmarshal raw result: it must be an object")
    stated = document.get("cniVersion")
    return from_document(document, stated if isinstance(stated, str) and stated else config_version or "0.1.0")


def from_document(document: dict[str, Any], version: str) -> Result:
    """Read a result's JSON object as ``version``. Raises ``ResultError``."""
    if version not in versions.KNOWN:
        raise ResultError(f'unsupported CNI result version "{version}"')
    try:
        return Result(version, shapes.parse(document, version, "result"))
    except CNIError as error:
        raise ResultError(str(error)) from None
