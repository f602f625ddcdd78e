"""skeleton: what it does, in a few words for the table of plugins."""
