"""Loops of the memory that are compiled for the CPU."""
