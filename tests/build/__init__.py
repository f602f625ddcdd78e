"""The single files: the same bytes every time, usable alone, put in place whole."""
