"""What an arm, its gripper and its cameras are, and how they are observed and commanded; runs on the robot."""
