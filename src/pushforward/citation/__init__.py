"""The papers behind what was used."""
