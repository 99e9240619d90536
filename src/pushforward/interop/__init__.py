"""Flows inside other libraries; each file needs its library, and nothing here imports one unasked."""
