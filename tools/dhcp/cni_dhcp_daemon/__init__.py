"""The daemon of the plugin dhcp: it acquires and renews the leases of all containers of the node."""
