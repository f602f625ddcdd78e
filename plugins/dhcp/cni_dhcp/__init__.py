"""dhcp: addresses from DHCP servers or routers on the link; a daemon keeps the leases."""

# ``daemonSocketPath`` by default
SOCKET = "/run/cni/dhcp.sock"
