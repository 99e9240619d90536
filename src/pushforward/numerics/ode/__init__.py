"""Ordinary differential equations: Runge-Kutta solvers with a step size for every row, and their gradients."""
