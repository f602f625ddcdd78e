"""The chain plugin: all plugins of a network for one attachment, in one process."""
