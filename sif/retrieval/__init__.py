"""The best items of any interaction function for many users, exactly."""
