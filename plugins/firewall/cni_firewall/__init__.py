"""firewall: lets the node forward packets of containers; bridges can be closed to other bridges, or pods to each other."""
