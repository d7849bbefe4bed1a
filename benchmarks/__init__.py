"""Speed and memory: scripts, each of which opens with its commands; `results/` has results."""
