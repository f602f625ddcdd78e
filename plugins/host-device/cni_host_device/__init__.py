"""host-device: a device of the node becomes the container's; DEL gives it back as it was. DPDK, PCI, SR-IOV too."""
