"""dummy: an interface of the container that leads nowhere, for addresses that are only there."""
