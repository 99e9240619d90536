"""Losses that training minimises."""

from .forms import from_numpy as from_numpy
