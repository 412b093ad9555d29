"""Teachers that are trained once, properly, and committed: what claims are made against."""
