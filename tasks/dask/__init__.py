"""Dask: starting a cluster and handing it work."""
