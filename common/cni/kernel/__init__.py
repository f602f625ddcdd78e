"""The only code that talks to the kernel: namespaces, links, addresses and routes, nftables, sysctls."""
