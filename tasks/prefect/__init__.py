"""What Prefect needs around a stage: server, caching, retries, progress, artifacts, names."""
