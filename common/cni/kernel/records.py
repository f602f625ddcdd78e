"""Who has what in a table of our own, found by the attachment alone: a map from (host link's name, number) to data.

DEL knows neither addresses nor ports when prevResult and the namespace are gone; the record tells them in O(1), where a
search through the elements would cost the more the more pods there are. A record's comment tells the attachment, so a
person and GC can read it; its key begins with the network's prefix.
"""

from cni.attachment import COMMENT_MAX, is_of_network, network_prefix
from cni.kernel.nftables import Element, Nftables
from cni.kernel.transaction import IFNAME, INET_SERVICE, SetType, Transaction, Type, pack, unpack
from cni.plan import Found

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.attachment import Attachment

_KEY = (IFNAME, INET_SERVICE)
# Records asked for at once: most attachments have a few, some have hundreds.
_FIRST, _MORE = 4, 24
# A record's number has 16 bits.
MOST = 1 << 16


class Records:
    """One record map of a table. A record is the bytes of its fields."""

    def __init__(self, kernel: Nftables, family: int, table: str, name: str, fields: "Sequence[Type]") -> None:
        """``fields`` are the types of a record's parts."""
        self._kernel = kernel
        self._family = family
        self._table = table
        self.name = name
        self.type = SetType(_KEY, fields)

    def key(self, link: str, number: int) -> bytes:
        """The key of an attachment's record by the attachment's host link name."""
        return pack(_KEY, [link.encode(), number.to_bytes(2, "big")])

    def of(self, link: str) -> list[list[bytes]]:
        """An attachment's records in order, fetched one by one until none is left."""
        return self.owned(link)[1]

    def owned(self, link: str) -> "tuple[str, list[list[bytes]]]":
        """The same behind the comment that tells whose they are, empty where there is none."""
        found = self.elements(link)
        records = [unpack(self.type.data, element.data) for element in found]
        return found[0].comment if found else "", records

    def elements(self, link: str) -> list[Element]:
        """The same as elements, whose comments tell the attachment."""
        found: list[Element] = []
        while len(found) < MOST:
            count = min(_FIRST if not found else _MORE, MOST - len(found))
            keys = [self.key(link, len(found) + number) for number in range(count)]
            for element in self._kernel.elements_of(self._family, self._table, self.name, keys, until_missing=True):
                if element is None:
                    return found
                found.append(element)
        return found

    def write(self, transaction: Transaction, attachment: "Attachment", records: "Sequence[Sequence[bytes]]") -> None:
        """Add an attachment's records; there must be none of it."""
        for number, fields in enumerate(records):
            data = pack(self.type.data, fields)
            transaction.add_element(self.name, self.key(attachment.link, number), data, attachment.comment)

    def erase(self, transaction: Transaction, link: str, count: int) -> list[bytes]:
        """Remove an attachment's records: their keys.

        The last one first: a transaction that is cut, between two batches, leaves those that ``of`` finds.
        """
        keys = [self.key(link, number) for number in range(count)]
        for key in reversed(keys):
            transaction.delete_element(self.name, key)
        return keys

    def others(self, link: str, fields: "Sequence[bytes]") -> list[str]:
        """The comments of others' records of the same content; reads the whole map."""
        data, own = pack(self.type.data, fields), link.encode().ljust(IFNAME.length, b"\0")
        listed = self._kernel.elements(self._family, self._table, self.name)
        return [each.comment for each in listed if each.data == data and not each.key.startswith(own)]

    def owners(self) -> dict[str, str]:
        """Every attachment's host link name and comment; reads the whole map."""
        found: dict[str, str] = {}
        for element in self._kernel.elements(self._family, self._table, self.name):
            found[unpack(_KEY, element.key)[0].rstrip(b"\0").decode("utf-8", "replace")] = element.comment
        return found

    def found(self, network: str) -> list[Found]:
        """The attachments of a network, or of all: their host links' names and owners; reads the whole map."""
        prefix = network_prefix(network) if network else ""
        return [
            Found(link, comment)
            for link, comment in self.owners().items()
            if link.startswith(prefix) and is_of_network(comment, network, COMMENT_MAX)
        ]
