"""vrf: the interface of an earlier plugin joins a VRF of the container, and routes with a table of its own."""
