"""What several of the unit tests use."""

from node.program import program

__all__ = ["program"]
