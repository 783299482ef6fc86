"""Evaluation sessions over ROS 2."""
