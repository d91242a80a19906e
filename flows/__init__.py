"""Prefect flows, one for each stage, and the pipeline that chains them."""

import os

# What lies in the folder one works in is data, and no module of Python's: also for the processes
# that libraries start, such as Dask's workers, which would look there first.
os.environ["PYTHONSAFEPATH"] = "1"
