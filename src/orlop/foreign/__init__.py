"""Data roots of other engines, read and never written: what `orlop adopt` takes volumes over from."""
