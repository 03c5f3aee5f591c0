"""What people see of a running sweep: progress, trackers, time of workers."""
