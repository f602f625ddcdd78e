"""``cni``, a driver of netavark: a CNI configuration list as a network of podman 5 and 6 (docs/podman.md)."""
