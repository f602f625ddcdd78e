"""The bridge plugin: containers on a Linux bridge of the node."""
