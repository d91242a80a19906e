"""Prefect flows, one for each stage, and the pipeline that chains them."""
