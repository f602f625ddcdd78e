"""host-local: addresses from ranges, leased in files that Go's host-local understands."""

# The folder of the leases, if the configuration names none.
DATA_DIR = "/var/lib/cni/networks"
