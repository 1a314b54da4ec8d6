"""Where VMs are placed: the hosts that come into question, and the claim of one of them."""
