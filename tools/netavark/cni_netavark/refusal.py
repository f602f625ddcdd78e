"""What the driver answers if it cannot do what it was asked for."""


class Refused(Exception):
    """podman asked for something that the driver cannot do. The text is what podman shows."""
