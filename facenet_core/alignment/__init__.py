"""Finding faces and cropping them: raw shards to crop shards."""
