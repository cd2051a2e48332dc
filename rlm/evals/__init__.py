"""Evaluations: does it help, on what, and at what price."""
