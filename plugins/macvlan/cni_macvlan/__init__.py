"""macvlan: an interface with a MAC of its own on a link of the node, in the network that this one is in."""
