"""`--task=negatives`: negative samples, measured on runs or planned from class sizes."""
