"""portmap: ports of the node that lead to ports of a container."""
