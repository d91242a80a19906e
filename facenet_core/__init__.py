"""From face photographs to a validated face-embedding model.

Knows nothing of Prefect or Dask: every function can be called from a notebook.
"""
