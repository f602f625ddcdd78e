"""Forwarding of containers' packets beside the firewalls of the node: what one attachment gets, in one of three backends.

``iptables`` are Go's chains (``cni.go.firewall``), ``firewalld`` a zone's sources, ``nftables`` a table of our own.
"""
