"""bandwidth: limits of the rate to and from a container, also for some subnets only, with short queues."""
