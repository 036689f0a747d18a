"""The paper's experiments: learners, sweeps, evaluation, and the figures made of them."""
