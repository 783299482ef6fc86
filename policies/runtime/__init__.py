"""The robot-side run time: control loop, safety filter, gate, limits, deadlines."""
