"""Learning, the policy bundle that leaves it, and the run time that drives a robot with it."""
