"""What holds for every plugin: one Subject a plugin, and the tests that each of them has to pass."""
