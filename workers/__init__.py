"""What runs on a GPU node: pipelines, the generate task and the heartbeat."""
