"""Looking after a storage root: what is in it, whether it is whole, what may go, who must go."""
