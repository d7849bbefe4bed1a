"""`--task=negatives`: negative samples, measured on a run or planned from class sizes."""
