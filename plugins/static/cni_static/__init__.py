"""static: the addresses that the configuration or the runtime states, without a record of them."""
