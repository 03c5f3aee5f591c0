"""What a run is: everything that its hash covers, and what follows from it by counting."""
