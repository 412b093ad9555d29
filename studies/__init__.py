"""The search itself: Optuna studies, their workers, their history and its mirror in MLflow."""
