"""The loops that search an architecture, and their budgets."""
