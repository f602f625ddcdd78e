"""The links of containers."""
