"""MCAP recordings. No rclpy here."""
