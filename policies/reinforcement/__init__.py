"""Reinforcement learning from state by stable-baselines3 and sb3-contrib, from demonstrations or from nothing.

algorithms      the visible table: PPO, SAC, TD3, DDPG, TQC, CrossQ, RecurrentPPO
practice        the environment that they practise in: hindsight goals, and what only a critic may know
columns         named features and their normaliser in front of every network
demonstrations  what experts did, to imitate and to keep in the replay buffer
actor           the learned actor as a network of ours, which is what bundles, the judge and transfer understand
inference       what a policy was told about the drawn parameters, inferred from its past
joined          observations as one vector, for the algorithm that takes no others
learner         a stable-baselines3 model put together from these
curricula       episodes whose randomisation grows
recipe          the visible table of how each algorithm learns
checkpoint      all that a run needs to go on as if nothing had happened
run             one training run
"""
