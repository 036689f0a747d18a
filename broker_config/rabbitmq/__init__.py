"""Setting up RabbitMQ: its queues, users and sites, and a private broker for tests and benchmarks."""
