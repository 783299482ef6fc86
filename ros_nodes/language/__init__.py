"""Goals in words over ROS 2."""
