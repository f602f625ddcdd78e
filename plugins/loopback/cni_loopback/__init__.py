"""loopback: ``lo`` up in the container."""
