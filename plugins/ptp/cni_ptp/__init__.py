"""ptp: a routed link of its own to each container: gateways on the node's end, masquerade over nftables."""
