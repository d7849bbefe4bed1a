"""What reads a setting: a task, or one of its forms that work without a run."""

PRETRAIN = 'pretrain'
EVALUATE = 'evaluate'
WEIGHTS = 'evaluate --weights'
NEGATIVES = 'negatives'
PLAN = 'negatives --class_counts'
# Those that open a run: flags of training are compared with those of the run.
OF_RUNS = (EVALUATE, NEGATIVES)
