"""Forward and reverse diffusion in sigma space: x = x0 + sigma * noise."""
