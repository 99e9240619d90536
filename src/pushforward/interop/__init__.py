"""Flows inside other libraries; each file needs its library, which is imported only on demand."""
