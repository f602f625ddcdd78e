"""Rules of Go's plugins: found, attributed to an owner, removed; and made if a configuration asks for iptables.

There are three forms. Go's plugins before 1.5, and Debian's, write rules of iptables, which are in nf_tables or in
iptables-legacy. Newer ones have their own nftables tables.
"""
