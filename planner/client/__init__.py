"""The Python API, sync and asyncio: submit jobs, follow them, fetch their images."""
