"""What every process shares: settings, messages and calls, queue topology, and the brokers."""
