"""The software renderer: RGB, depth and segmentation of rigid bodies."""
