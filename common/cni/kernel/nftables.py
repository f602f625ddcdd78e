"""nftables over netlink, without the nft program: commits transactions, and reads single objects by name.

The kernel interface is linux/netfilter/nf_tables.h. Messages are pyroute2's; its socket is not used, because it starts
an event loop and has no batch of mixed messages.
"""

import os
import struct
from errno import EAFNOSUPPORT, EBUSY, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT, ERESTART

from cni.errors import CNIError, KernelError, TryAgainLater
from cni.kernel.exclusive import SharedLock
from cni.kernel.netlink import F_ACK, F_DUMP, NETFILTER, Answer, Later, Netlink, attribute, attributes, framed, text
from cni.kernel.transaction import GET, NEW, SUBSYSTEM, Transaction, message, message_type
from cni.patience import attempts
from cni.settings import Declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    # Sequence number, encoded message and text of each step in a datagram.
    Batch = list[tuple[int, bytearray, str]]

_BATCH_BEGIN, _BATCH_END, _GENERATION = 16, 17, 1
# A new generation, or an object that another writer made or removed meanwhile: read and try again.
_AGAIN = (ERESTART, EEXIST, EBUSY, ENOENT)
# Errors of a kernel, or of a sandbox that acts as one, without nfnetlink or nf_tables.
_ABSENT = (EPROTONOSUPPORT, EAFNOSUPPORT, EOPNOTSUPP)
_TRIES = 12
# After so many changes by others, a change is made under an exclusive lock, and without comparing the generation.
_DISTURBED = 4
# Seconds; much less than a runtime allows a plugin.
_PATIENCE = 15.0
_REMEDY = (
    'load nf_tables, or do without it: "ipMasqBackend": "iptables" of bridge and "backend": "iptables" of portmap, '
    "with iptables-legacy"
)
# The length of a batch's first and last message, and the offset of the flags in a message's header
_BRACKETS = 28 + 20
_FLAGS, _FLAGS_AT = struct.Struct("=H"), 6
# the length of the two headers before the attributes, netlink's and nfnetlink's
_BODY = 20
# linux/netfilter/nf_tables.h: a rule's attributes
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_USERDATA = 1, 2, 3, 7
# the attributes of a message with elements, of an element, and of its key and data
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ITEM, _ELEM_KEY, _ELEM_DATA, _ELEM_USERDATA, _DATA_VALUE = 1, 1, 2, 6, 1
_NESTED = 0x8000
# The most keys in a request for elements, so that their answers fit into a socket's receive buffer.
_AT_ONCE = 24


class Element:
    """An element of a set or map; there may be thousands."""

    __slots__ = ("comment", "data", "key")

    def __init__(self, key: bytes, data: bytes, comment: str) -> None:
        self.key = key
        self.data = data
        self.comment = comment


class Rule:
    """A rule: where it is, its comment, and its expressions, which are decoded on first use."""

    __slots__ = ("_decoded", "answer", "chain", "comment", "handle", "table")

    def __init__(self, answer: Answer) -> None:
        parts = dict(attributes(answer.data, _BODY))
        self.answer = answer
        self.handle = int.from_bytes(parts[_RULE_HANDLE], "big")
        self.table = text(parts.get(_RULE_TABLE), "replace")
        self.chain = text(parts.get(_RULE_CHAIN), "replace")
        self.comment = _comment(parts.get(_RULE_USERDATA, b""))
        self._decoded: Any = None

    @property
    def message(self) -> "Any":
        """pyroute2's message."""
        if self._decoded is None:
            self._decoded = self.answer.decode(type(message("RULE", 0, ())))
        return self._decoded

    def expressions(self, name: str) -> "Iterator[Any]":
        """The attributes of each expression of one kind, as pyroute2 decodes them."""
        for expression in self.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
            if expression.get_attr("NFTA_EXPR_NAME") == name:
                yield expression.get_attr("NFTA_EXPR_DATA")

    def jumps_to(self) -> list[str]:
        """The chains that the rule jumps or goes to."""
        found = []
        for expression in self.expressions("immediate"):
            data = expression.get_attr("NFTA_IMMEDIATE_DATA")
            verdict = data.get_attr("NFTA_DATA_VERDICT") if data else None
            chain = verdict.get_attr("NFTA_VERDICT_CHAIN") if verdict else None
            if chain:
                found.append(str(chain))
        return found


class Chain(Declared):
    """A chain: hook and priority, None if it has no hook."""

    hook: int | None
    priority: int | None


class NftablesError(CNIError):
    """A transaction failed; the message names the first faulty object.

    ``partly``: the transaction was too large for one batch, and earlier batches are in force.
    """

    def __init__(self, msg: str, number: int, details: str = "") -> None:
        super().__init__(msg, details)
        self.errno = number
        self.partly = False


def _comment(data: bytes) -> str:
    """The comment in user data, where each part has a type, a length and a value (as libnftnl writes it)."""
    while len(data) > 2:
        kind, length = data[0], data[1]
        if kind == 0:
            return text(data[2 : 2 + length], "replace")
        data = data[2 + length :]
    return ""


class Nftables(Netlink):
    """A socket for nf_tables of the namespace in which it is made.

    A call has one, which belongs to its ``Node``. Closing it waits until the kernel has freed what was removed.

    If the kernel has no nf_tables, nothing is found and nothing must be removed; only making something is an error.
    """

    def __init__(self) -> None:
        self._dump: Netlink | None = None
        # other netfilter sockets of the call that are no longer used
        self.later = Later()
        self._absent = False
        self._together = SharedLock("nftables")
        # by family and parts: the kernel options that are missing (used by ``backend``)
        self.lacking: dict[tuple[int, tuple[str, ...]], str] = {}
        try:
            super().__init__(NETFILTER)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            self._absent = True

    def close(self) -> None:
        """Close the sockets; waits for the kernel after a removal."""
        self.later.close()
        if self._dump is not None:
            self._dump.close()
        if hasattr(self, "_socket"):
            super().close()

    @property
    def absent(self) -> bool:
        """Whether the kernel has no nf_tables."""
        self._generation()
        return self._absent

    # transactions

    def commit(self, transaction: Transaction, generation: int | None = None) -> None:
        """Send a transaction and wait for its acknowledgement; raises ``NftablesError`` for the first fault.

        With a ``generation`` other than 0, it fails with ERESTART if the ruleset has changed since. A transaction that
        is too large for one datagram is sent in several, in order; each is all or nothing. So callers make an owner's
        record before what it owns, and remove it afterwards.
        """
        if not transaction:
            return
        if self._absent:
            raise NftablesError("the kernel has no nftables (nf_tables)", EOPNOTSUPP, _REMEDY)
        for number, batch in enumerate(self._batches(transaction)):
            try:
                self._send(batch, generation)
            except NftablesError as error:
                error.partly = number > 0
                raise
            if generation:  # the generation after our own commit; the kernel skips 0
                generation = (generation + 1) % (1 << 32) or 1

    def _batches(self, transaction: Transaction) -> "list[Batch]":
        """The transaction's messages in as few datagrams as the socket allows."""
        encoded: Batch = []
        self._sequence += 1  # for the first batch's beginning
        for kind, flags, made, script in transaction.steps():
            line, *others = script.split("\n")
            data = self.encode(made, kind, flags)
            encoded.append((self._sequence, data, f"{line} (or one of {len(others)} more)" if others else line))
        left = room = self.make_room(sum(len(data) for _, data, _ in encoded) + _BRACKETS) - _BRACKETS
        batches: list[Batch] = [[]]
        for step in encoded:
            if batches[-1] and len(step[1]) > left:
                batches.append([])
                left = room
            batches[-1].append(step)
            left -= len(step[1])
        return batches

    def _send(self, batch: "Batch", generation: int | None) -> None:
        """Send one datagram; raises the first error among its answers."""
        for step, error in self._faults(batch, generation).items():
            line = "the start of the batch" if step < 0 else batch[step][2]
            raise NftablesError(f"nftables: {line}: {error}", error.errno, _REMEDY if error.errno in _ABSENT else "")

    def _faults(self, batch: "Batch", generation: int | None, ended: bool = True) -> "dict[int, KernelError]":
        """Send one datagram; returns the errors of its steps by their numbers, in order; -1 is the start of the batch.

        The kernel answers the last message, which asks for that, and faulty ones, or refuses the whole batch at once.
        """
        start = batch[0][0] - 1
        last, final, _ = batch[-1]
        (flags,) = _FLAGS.unpack_from(final, _FLAGS_AT)
        _FLAGS.pack_into(final, _FLAGS_AT, flags | F_ACK)
        data = self._bracket(_BATCH_BEGIN, start, generation) + b"".join(step[1] for step in batch)
        if ended:
            self._sequence += 1
            data += self._bracket(_BATCH_END, self._sequence)
        self.send(data)
        faults: dict[int, KernelError] = {}
        for answer in self.answers(start, last):
            if answer.error is not None:
                faults[answer.sequence - start - 1] = answer.error
            if answer.last and answer.sequence in (start, last):
                break
        return faults

    def _bracket(self, kind: int, sequence: int, generation: int | None = None) -> bytes:
        expected = attribute(_GENERATION, generation.to_bytes(4, "big")) if generation else b""
        body = bytes(2) + SUBSYSTEM.to_bytes(2, "big") + expected
        return framed(body, kind, 0, sequence)

    def refused(self, transaction: Transaction) -> "dict[int, int]":
        """The numbers of the steps that the kernel refuses, with errno. The batch has no end, so the kernel drops it."""
        (batch,) = self._batches(transaction)
        return {step: error.errno for step, error in self._faults(batch, None, ended=False).items()}

    def repeatedly(self, change: "Callable[[], None]") -> None:
        """Run ``change`` again while others interfere, for some seconds, with growing random pauses.

        A new generation means that other writers make progress, perhaps in other tables: keep retrying. After a few
        retries, ``change`` runs alone among our processes and compares no generation: only our processes change our
        tables, and an object that already exists, or is missing, is an error anyway. Other errors that another writer
        may have caused get a few tries. A caller that needs an ``Exclusive`` lock takes it before, not inside.
        """
        factor, faults, disturbed = 0.5 + os.urandom(1)[0] / 256, 0, 0
        for _ in attempts(_PATIENCE, first=0.0005 * factor, longest=0.01 * factor):
            try:
                self._together.hold(change, disturbed >= _DISTURBED)
            except NftablesError as error:
                disturbed += error.errno == ERESTART
                faults += error.errno != ERESTART
                if error.errno not in _AGAIN or faults >= _TRIES:
                    raise
            else:
                return
        raise TryAgainLater("nftables is changed by others all the time", "try again")

    # single objects

    def generation(self) -> int:
        """The generation of the ruleset; 0, which is never compared, if we hold the lock alone."""
        return 0 if self._together.alone else self._generation()

    def _generation(self) -> int:
        asked = message("GEN", 0, ())
        answers = [] if self._absent else self.request(asked, message_type(GET, "GEN"), absent=(*_ABSENT, EINVAL))
        self._absent = not answers
        return int(answers[0].decode(type(asked)).get_attr("NFTA_GEN_ID")) if answers else 0

    def essence(self, answers: "list[Answer]") -> "list[bytes]":
        """The handle of a rule, because its counters change; for other objects, all after the header."""
        if answers and answers[0].kind == message_type(NEW, "RULE"):
            return [dict(attributes(answer.data, _BODY)).get(_RULE_HANDLE, b"") for answer in answers]
        return [answer.data[_BODY:] for answer in answers]

    def _answers(self, what: str, asked: "Any", flags: int = 0) -> list[Answer]:
        """The kernel's answers; empty if the object, or its table or family, does not exist."""
        if self._absent:
            return []
        try:
            return self.request(asked, message_type(GET, what), flags, absent=(ENOENT, *_ABSENT))
        except KernelError as error:
            if error.errno == EINVAL and self.absent:
                return []
            raise

    def _get(self, what: str, family: int, flags: int = 0, **attributes: str) -> "list[Any]":
        """The decoded answers about a TABLE, CHAIN or SET; attributes have the names that ``message`` uses."""
        asked = message(what, family, attributes.items())
        return [answer.decode(type(asked)) for answer in self._answers(what, asked, flags)]

    def has_table(self, family: int, table: str) -> bool:
        """Whether the table exists."""
        return bool(self._get("TABLE", family, NAME=table))

    def tables(self) -> "set[tuple[int, str]]":
        """Family and name of every table."""
        found = self._get("TABLE", 0, F_DUMP)
        return {(table["nfgen_family"], table.get_attr("NFTA_TABLE_NAME")) for table in found}

    def chain(self, family: int, table: str, name: str) -> Chain | None:
        """The chain of that name, None if it does not exist."""
        found = self._get("CHAIN", family, TABLE=table, NAME=name)
        hook = found[0].get_attr("NFTA_CHAIN_HOOK") if found else None
        at = [hook.get_attr(f"NFTA_HOOK_{part}") if hook is not None else None for part in ("HOOKNUM", "PRIORITY")]
        return Chain(*at) if found else None

    def has_set(self, family: int, table: str, name: str) -> bool:
        """Whether the set or map exists."""
        return bool(self._get("SET", family, TABLE=table, NAME=name))

    def sets(self, family: int, table: str) -> list[str]:
        """The names of a table's sets and maps."""
        found = self._get("SET", family, F_DUMP, TABLE=table)
        return [each.get_attr("NFTA_SET_NAME") for each in found if each.get_attr("NFTA_SET_TABLE") == table]

    def rules(self, family: int, table: str, chain: str = "") -> list[Rule]:
        """The rules of one chain, or of the whole table, in order; the kernel filters them."""
        wanted = {"TABLE": table, "CHAIN": chain} if chain else {"TABLE": table}
        answers = self._answers("RULE", message("RULE", family, wanted.items()), F_DUMP)
        return [rule for rule in map(Rule, answers) if (rule.chain if chain else rule.table) == (chain or table)]

    def some_rules(self, family: int, table: str, chain: str, having: "Sequence[bytes]") -> "tuple[list[Rule], int]":
        """The rules of a chain whose messages hold one of these bytes, and the number of the others.

        A chain may have thousands of rules; those others are not decoded.
        """
        asked = message("RULE", family, [("TABLE", table), ("CHAIN", chain)])
        answers = self._answers("RULE", asked, F_DUMP)
        # the kernel sends the whole table if the chain does not exist
        inside = attribute(_RULE_CHAIN, chain.encode() + b"\0")
        answers = [answer for answer in answers if inside in answer.data]
        found = [answer for answer in answers if any(each in answer.data for each in having)]
        return [Rule(answer) for answer in found], len(answers) - len(found)

    def first_rules(self, family: int, table: str, chain: str, most: int) -> list[Rule]:
        """The first rules of a chain; the others are not read."""
        if self._absent:
            return []
        asked = message("RULE", family, [("TABLE", table), ("CHAIN", chain)])
        # a socket with an unfinished dump cannot start another one
        dump, found = Netlink(NETFILTER), list[Rule]()
        sequence = dump.send(dump.encode(asked, message_type(GET, "RULE"), F_DUMP))
        for answer in dump.answers(sequence, sequence):
            if answer.last or len(found) == most:
                break
            found.append(Rule(answer))
        self.later.add(dump)
        return [rule for rule in found if rule.chain == chain]

    def element(self, family: int, table: str, set_name: str, key: bytes) -> Element | None:
        """The element with this key, None if there is none."""
        return next(iter(self.elements(family, table, set_name, [key])), None)

    def elements_of(self, family: int, table: str, set_name: str, keys: "Sequence[bytes]") -> "list[Element | None]":
        """The elements with these keys, None for a missing one."""
        found: list[Element | None] = []
        while len(found) < len(keys):
            asked = keys[len(found) : len(found) + _AT_ONCE]
            answers = self.elements(family, table, set_name, asked)
            found += answers
            if len(answers) < len(asked):
                found.append(None)
        return found

    def elements(self, family: int, table: str, set_name: str, keys: "Sequence[bytes]" = ()) -> list[Element]:
        """Every element of a set, or those with these keys: the kernel stops at the first missing one."""
        answers = self._answers("SET_ELEM_LIST", _of_set(family, table, set_name, keys), 0 if keys else F_DUMP)
        return [found for answer in answers for found in _elements(answer)]

    def holds(self, family: int, table: str, set_name: str, wanted: "Callable[[Element], bool]") -> bool:
        """Whether a set has an element that is ``wanted``; reads the dump only up to the first one."""
        if self._absent:
            return False
        body = _of_set(family, table, set_name)
        # a socket with an unfinished dump cannot start another one
        dump = self._dump or Netlink(NETFILTER)
        self._dump = None
        sequence = dump.send(dump.packed(body, message_type(GET, "SET_ELEM_LIST"), F_DUMP))
        for answer in dump.answers(sequence, sequence):
            if answer.last:
                self._dump = dump
                break
            if any(wanted(found) for found in _elements(answer)):
                self.later.add(dump)
                return True
        return False


def _of_set(family: int, table: str, set_name: str, keys: "Sequence[bytes]" = ()) -> bytes:
    """The body of a request for a set's elements, by keys; packed by hand because pyroute2 takes 0.1 ms for each key."""
    listed = b"".join(
        attribute(_NESTED | _ITEM, attribute(_NESTED | _ELEM_KEY, attribute(_DATA_VALUE, key))) for key in keys
    )
    body = bytes((family, 0, 0, 0))
    body += attribute(_LIST_TABLE, table.encode() + b"\0") + attribute(_LIST_SET, set_name.encode() + b"\0")
    return body + attribute(_NESTED | _LIST_ELEMENTS, listed) if keys else body


def _elements(answer: Answer) -> list[Element]:
    """The elements in a message, decoded by hand for the same reason."""
    found = []
    for kind, listed in attributes(answer.data, _BODY):
        for _, item in attributes(listed) if kind == _LIST_ELEMENTS else ():
            parts = dict(attributes(item))
            key, data = (
                dict(attributes(parts.get(part, b""))).get(_DATA_VALUE, b"") for part in (_ELEM_KEY, _ELEM_DATA)
            )
            found.append(Element(key, data, _comment(parts.get(_ELEM_USERDATA, b""))))
    return found
