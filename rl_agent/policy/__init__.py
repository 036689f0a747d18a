"""A learned policy as data: what it reads, its files, its versions, and the placer that serves it."""
