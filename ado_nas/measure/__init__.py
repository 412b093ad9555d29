"""What a model costs: latency, memory, parameters and operations, measured alone on the device."""
