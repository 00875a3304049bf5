"""A searched function as a recommender: fit, recommend, fold in, save."""
