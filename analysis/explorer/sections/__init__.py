"""Live figures of a report's sections: tasks, learning rates, arms, forecasts, sources and replications."""
