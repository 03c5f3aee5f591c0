"""A whole sweep: from settings to plan, training in phases, tables, fits and report."""
