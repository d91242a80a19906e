"""Models in the forms people have them: reading, importing, exporting."""
