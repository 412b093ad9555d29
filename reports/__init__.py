"""What people decide from: one HTML page, a CSV, a JSON document and the dashboard of a study."""
