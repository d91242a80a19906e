"""Secrets in URLs, the deny list, and taking people out of a storage root."""
