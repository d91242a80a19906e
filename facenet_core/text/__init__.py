"""Text for people and from other systems: counting in words, printable names, text files."""
