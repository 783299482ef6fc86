"""The qualities of service in use, by what they are for."""

from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy

NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
"""Samples that the next one replaces: joint states, images, heartbeats. Matches any publisher."""
COMMAND = QoSProfile(depth=1)
"""Commands: reliable, and only the newest counts."""
EVENT = QoSProfile(depth=10)
"""Messages that must all arrive."""
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
"""A state that a latecomer needs to know."""
