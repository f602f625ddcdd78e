"""host-local: addresses from ranges, leased in files that Go's host-local understands."""
