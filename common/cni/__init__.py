"""What every plugin of pycni stands on: the frame of a call, the plan of effects, and the kernel room."""
