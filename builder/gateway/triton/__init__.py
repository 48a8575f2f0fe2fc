"""The client side: what Triton serves, how it is asked, what it answers."""
