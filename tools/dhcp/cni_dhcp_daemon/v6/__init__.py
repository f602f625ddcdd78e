"""The IPv6 client: router advertisements (SLAAC) and DHCPv6, stateful and stateless. There is no input or output here."""
