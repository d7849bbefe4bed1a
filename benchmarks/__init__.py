"""Speed and memory, each script with its own `--help`; results lie in `results/`."""
