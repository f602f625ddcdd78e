"""ipvlan: an interface on a link of the node that shares its MAC, for networks that allow one MAC for each port."""
