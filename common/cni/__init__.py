"""What every plugin of pycni stands on: the frame of a call, the plan of effects, and the kernel room."""

# The build that this code is of, as the front door of a single file knows it; empty where there is none.
build = ""
