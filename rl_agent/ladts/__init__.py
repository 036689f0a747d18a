"""LAD-TS: discrete soft actor-critic whose actor denoises a latent action."""
