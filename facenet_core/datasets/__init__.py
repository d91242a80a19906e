"""Data sets: where photographs come from, and raw shards made of them."""
