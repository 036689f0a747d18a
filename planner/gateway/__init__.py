"""The HTTP gateway: image clients of every kind, over `AsyncClient`. Imported by `ladle serve` alone."""
