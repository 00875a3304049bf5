"""Item-item models in closed form: what comes next, as a ridge regression on decayed histories."""
