"""The PyBullet world and the models of what drives its joints."""
