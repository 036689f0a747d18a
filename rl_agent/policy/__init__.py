"""A learned policy as data: what it reads, its folder, its versions, and the placer that serves it."""
