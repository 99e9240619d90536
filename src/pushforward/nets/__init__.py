"""Parameter networks: nothing invertible lives here."""
