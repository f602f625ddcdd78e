"""The host-local plugin: addresses from ranges, leased in files on this node."""
