"""skeleton: a few words about what it does, for the table of plugins."""
