"""Many environments in worker processes over shared memory."""
