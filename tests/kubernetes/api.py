"""The API server as a client sees it: JSON over HTTPS, with a token."""

import http.client
import json
import ssl
from typing import Any

from node.namespace import Netns

Object = dict[str, Any]

PORT = 6443
TOKEN = "a-token-of-the-tests"
# The address of each kind of object that the tests use.
_GROUPS = {
    "pods": "/api/v1",
    "services": "/api/v1",
    "endpoints": "/api/v1",
    "nodes": "/api/v1",
    "events": "/api/v1",
    "deployments": "/apis/apps/v1",
    "daemonsets": "/apis/apps/v1",
}
_PATCH = "application/strategic-merge-patch+json"


class Refused(Exception):
    """The API server answered with a status that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:2000]}")
        self.status = status


class Api:
    """A client of the API server on a node."""

    def __init__(self, at: Netns, address: str = "127.0.0.1") -> None:
        self._at, self._address = at, address
        self._trust = ssl.create_default_context()
        self._trust.check_hostname, self._trust.verify_mode = False, ssl.CERT_NONE

    def call(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Object:
        """One request; raises ``Refused`` for an answer that is no success."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        with self._at.inside():
            connection = http.client.HTTPSConnection(self._address, PORT, context=self._trust, timeout=60)
            connection.connect()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Refused(answer.status, text)
        return dict(json.loads(text)) if text.startswith("{") else {"text": text}

    def ready(self) -> bool:
        """Whether it answers."""
        try:
            return self.call("GET", "/readyz").get("text") == "ok"
        except (OSError, Refused, http.client.HTTPException):
            return False

    def _path(self, kind: str, name: str = "") -> str:
        where = "" if kind == "nodes" else "/namespaces/default"
        return f"{_GROUPS[kind]}{where}/{kind}" + (f"/{name}" if name else "")

    def create(self, kind: str, body: Object) -> Object:
        """Make an object."""
        return self.call("POST", self._path(kind), body)

    def get(self, kind: str, name: str) -> Object:
        """One object."""
        return self.call("GET", self._path(kind, name))

    def list(self, kind: str) -> list[Object]:
        """All objects of a kind."""
        return list(self.call("GET", self._path(kind))["items"])

    def patch(self, kind: str, name: str, body: Object) -> Object:
        """Change an object."""
        return self.call("PATCH", self._path(kind, name), body, _PATCH)

    def delete(self, kind: str, name: str, grace: int | None = None) -> None:
        """Delete an object; ``grace`` is in seconds, 0 at once and without the kubelet's word."""
        query = "" if grace is None else f"?gracePeriodSeconds={grace}"
        try:
            self.call("DELETE", self._path(kind, name) + query)
        except Refused as refused:
            if refused.status != 404:
                raise
