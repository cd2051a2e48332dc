"""What servers of runs share: so many at a time, limits that a caller may lower, and progress in short lines."""
