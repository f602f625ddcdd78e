"""vlan: an interface for one VLAN (802.1Q) of a link of the node, or of another interface of the container."""
