"""portmap: ports of the node that lead to containers: TCP, UDP, SCTP, in O(1) over nftables."""
