"""How the synthetic faces are drawn: identity and shot -> face, head and scene -> camera."""
