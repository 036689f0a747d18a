"""`ladle bench`: placers side by side on emulated nodes, over real queues."""
