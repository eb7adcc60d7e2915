"""How a sequence call is run: what it is, who takes it, and the ways to run it."""
