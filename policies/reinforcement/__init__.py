"""Reinforcement learning from state by stable-baselines3 and sb3-contrib, from demonstrations or from nothing.

algorithms      the table: PPO, SAC, TD3, DDPG, TQC, CrossQ, RecurrentPPO
practice        the training environment: hindsight goals, and observations of the critic only
columns         named features and their normaliser in front of every network
demonstrations  the expert's transitions, to imitate and to keep in the replay buffer
actor           the trained actor as one of our networks, for bundles, evaluation and transfer
inference       the latent of the drawn parameters, inferred from the history (RMA)
joined          observations as one vector, for the algorithm that takes no others
learner         a stable-baselines3 model built from these
curricula       episodes whose randomisation grows
recipe          the table of settings of each algorithm
checkpoint      the state from which a run resumes bit for bit
run             one training run
"""
