"""What an arm, its gripper and its cameras are, and how they are observed and commanded; runs on the robot."""

import os

# OpenCV reads it when it is imported. A picture of few bytes may say that it has 2^30 pixels, which are 3 GB.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))
