"""What needs a kernel that the machine may not run: Debian's own, booted in a guest by ``run``."""
