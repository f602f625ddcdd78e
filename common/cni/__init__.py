"""The code that all plugins of pycni share: the frame of a call, plans and effects, and access to the kernel."""

# The build that this code belongs to, set by the front door of a single file; empty otherwise.
build = ""
