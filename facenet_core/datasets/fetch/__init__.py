"""Downloads: the catalogue of known data sets, and files fetched whole or not at all."""
