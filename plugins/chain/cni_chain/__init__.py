"""chain: all plugins of a network for a pod in one process: one start instead of four or five."""
