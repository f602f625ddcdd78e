"""A server that has imported everything, and forks a child for each call: docs/forkserver.md."""
