"""The way back to Go's plugins: what ours made in tables of their own, written as Go's plugins would have it."""
