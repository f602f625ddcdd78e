"""tuning: sysctls, MAC, MTU, queue length and modes of the interface that an earlier plugin made; DEL restores them."""
