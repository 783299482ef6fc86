"""What a policy is given, before and while it acts: cameras that fail, light that changes, what it is asked for."""
