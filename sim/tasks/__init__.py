"""Tasks: one file each, holding scene, goal, reset, reward terms, success and a scripted expert."""
