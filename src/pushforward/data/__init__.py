"""Data: tables, images, toys and targets."""
