"""Files from addresses: whole or not at all, resumed, from mirrors, verified."""
