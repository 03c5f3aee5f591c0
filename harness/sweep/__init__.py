"""The sweep command: settings, plan, training in phases, tables, fits and report."""
