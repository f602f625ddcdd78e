"""A server that has everything imported and forks once a call: docs/forkserver.md."""
