"""Launchers: start workers that train runs, supervise them, and repeat failed attempts."""
