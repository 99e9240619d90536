"""Ordinary differential equations: Runge-Kutta solvers with individual step sizes, and their gradients."""
