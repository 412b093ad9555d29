"""Teaching a small student the teacher's trajectories in few steps."""
