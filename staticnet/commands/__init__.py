"""The commands of the command line: functions from parsed arguments to an exit status."""
