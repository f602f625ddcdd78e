"""``cni``, a driver of netavark: a CNI configuration list as a network of podman 5 (docs/podman.md)."""
