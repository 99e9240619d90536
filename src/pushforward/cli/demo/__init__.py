"""``pushforward demo``: a whole job in a few minutes, without a network; one file for each kind of job."""

from .table import bundled_table

__all__ = ["bundled_table"]
