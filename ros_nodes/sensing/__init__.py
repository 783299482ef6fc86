"""Cameras without a ROS driver of their own."""
