"""The loop from logged experience to a better policy: samples, digital twin, learner, gate."""
