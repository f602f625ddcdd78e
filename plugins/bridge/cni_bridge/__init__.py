"""bridge: containers on a Linux bridge: gateways, masquerade over nftables, VLANs, MAC spoof check."""
