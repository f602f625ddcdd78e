"""Real runtimes, real peers and real kernel objects: the plugins as their users meet them."""
