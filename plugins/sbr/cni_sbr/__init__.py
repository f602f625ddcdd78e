"""sbr: what a container sends from an interface's address leaves through that interface, by routing tables of its own."""
