"""Thin typed Linux calls, no policy. An error names the call and the path; comments say what the kernel surprises with.

The only place with ctypes. Every call raises OSError as Python's own os module does.
"""
