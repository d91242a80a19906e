"""Pictures as files: which formats there are, whatever reads or writes them."""
