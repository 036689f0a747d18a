"""Environment, LAD-TS, baselines, experience log and retraining."""
