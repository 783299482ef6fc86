"""What joints and cameras report, noise, delay and image disturbances included."""
