"""The loopback plugin: brings ``lo`` up in a container."""
