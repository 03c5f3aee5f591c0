"""What an estimate can bear: bootstrap, covariance, profile, identifiability, doubts of the table."""
