"""The validation report: its metrics, plots, pictures and page."""
