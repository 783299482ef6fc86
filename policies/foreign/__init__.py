"""Policies that were trained elsewhere, each in a server process of its own. Robot side, without ROS."""
