"""Training: the step, the optimizer over one flat vector, the teacher."""
