"""From logged experience to a better policy: samples, digital twin, search and learner, gate."""
