"""The way back to Go's plugins: rules of our own tables, written in the layout of Go's plugins."""
