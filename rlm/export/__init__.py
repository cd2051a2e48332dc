"""Runs in other forms, made from their traces."""
