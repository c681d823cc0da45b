"""Orlop, a container engine that keeps people's data. docs/architecture.md is the map."""

__version__ = "0.1.0"
