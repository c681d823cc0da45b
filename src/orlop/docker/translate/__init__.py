"""Wire to model once on the way in, model to wire once on the way out."""
