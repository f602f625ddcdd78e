"""Everything on the node that our plugins or Go's have made: one walk over the kinds that a tool gives. Read only.

A kind may know an owner only in part: Go's chains name network and container, its newer tables the container or a
hash, and a comment of ours may be shortened. The walk completes such an owner if exactly one attachment fits, among
those that other things name in full.
"""

import os
from time import time

from cni.attachment import COMMENT_MAX, Attachment
from cni.go import names
from cni.go.ifb import ifb_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni.plan import Found, Kind

    Facts = dict[str, str | list[str]]


class Thing:
    """One thing that exists: its kind, name, owner and facts."""

    __slots__ = ("container", "facts", "identity", "ifname", "kind", "network", "text")

    def __init__(self, kind: "Kind", found: "Found") -> None:
        self.kind = kind
        self.identity = str(found)
        self.facts = _aged(dict(found.facts))
        # the owner as the thing names it, and its parts; an unknown part is empty
        self.text = found.owner
        owner = Attachment.parse(found.owner, COMMENT_MAX)
        self.network, self.container, self.ifname = owner.parts if owner is not None else ("", "", "")

    @property
    def attachment(self) -> Attachment | None:
        """The owner, None if a part is unknown."""
        parts = self.network, self.container, self.ifname
        return Attachment(*parts) if all(parts) else None

    def may_belong_to(self, attachment: Attachment) -> bool:
        """Whether the known parts of the owner fit an attachment."""
        known = self.network, self.container, self.ifname
        if not any(known):
            return self.identity in (attachment.link, names.instance(attachment), ifb_name(attachment))
        return all(part in ("", whole) for part, whole in zip(known, attachment.parts, strict=True))

    def document(self) -> "dict[str, Any]":
        """The JSON object. Unknown parts of the owner are left out; a shortened owner appears as its text."""
        owner = {"network": self.network, "container": self.container, "ifname": self.ifname}
        known = {name: part for name, part in owner.items() if part} or ({"text": self.text} if self.text else {})
        return {"kind": self.kind.noun, "identity": self.identity, "owner": known, "facts": self.facts}


def _aged(facts: "Facts") -> "Facts":
    """Add the age, in seconds, of the file that the facts name."""
    file = facts.get("file")
    try:
        return {**facts, "age": str(max(0, int(time() - os.stat(str(file)).st_mtime)))} if file else facts
    except OSError:
        return facts


def walk(kinds: "Iterable[Kind]") -> list[Thing]:
    """All things of these kinds, in their order."""
    things = [Thing(kind, found) for kind in kinds for found in kind.present("")]
    whole = {attachment for attachment in (thing.attachment for thing in things) if attachment is not None}
    for thing in things:
        if thing.attachment is None:
            fitting = [attachment for attachment in whole if thing.may_belong_to(attachment)]
            if len(fitting) == 1:
                thing.network, thing.container, thing.ifname = fitting[0].parts
    return things
