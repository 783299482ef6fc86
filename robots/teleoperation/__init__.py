"""An operator's devices, and what they steer: joint targets while a dead-man is held. Robot side, without ROS."""
