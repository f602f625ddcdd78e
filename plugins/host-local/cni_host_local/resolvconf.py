"""The parts of resolv.conf(5) that a result can carry (pure)."""

from cni.result import DNS


def parse(text: str) -> DNS:
    """Read the lines ``nameserver``, ``domain`` (the last one wins), ``search`` and ``options``; skip all others."""
    dns = DNS()
    for line in text.split("\n"):
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            dns.nameservers.append(words[1])
        elif words[0] == "domain":
            dns.domain = words[1]
        elif words[0] == "search":
            dns.search += words[1:]
        elif words[0] == "options":
            dns.options += words[1:]
    return dns
