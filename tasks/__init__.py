"""Prefect tasks: retries, progress and artifacts around one function of facenet_core each."""
