"""What Go's plugins leave on a node: found by name, told apart, removed; and made where a configuration asks for iptables.

``names``            what their chains, tables and comments are called, written and parsed back
``rules``            one rule, read over netlink or out of what iptables prints
``chains``           iptables' nat tables, and the chain of a container that several attachments may share
``masquerade``       masquerading, as bridge and ptp have it: removed and collected
``hostports``        host ports, as portmap has them in its three forms: found, removed and collected
``macspoof``         the MAC spoof check of bridge
``make_masquerade``, ``make_hostports``   the same rules written and compared, through iptables' own programs

All three forms stay in use: Go's plugins before 1.5 and Debian's write iptables' rules, which land in nf_tables or in
iptables-legacy; newer ones write nftables tables of their own.
"""
