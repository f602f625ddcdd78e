"""The client of DHCPv4: packets in, packets and events out (RFC 2131). There is no input or output here."""
