"""One module a plugin, each with a SUBJECT."""
