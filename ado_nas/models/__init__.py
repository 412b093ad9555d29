"""Networks in MLX: the U-Net, its blocks, and how a student inherits a teacher's weights."""
