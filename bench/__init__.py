"""Orlop and a peer measured side by side."""
