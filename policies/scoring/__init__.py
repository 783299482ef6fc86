"""How success is measured, in the training engine and in MuJoCo."""
