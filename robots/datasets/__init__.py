"""LeRobot data sets (LeRobotDataset v3, and v2.1 to read): tables in Parquet, pictures in mp4. No torch."""
