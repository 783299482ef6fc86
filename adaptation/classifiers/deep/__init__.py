"""Deep domain adaptation of classifiers: one trainer, one small function a method, and what a frozen model can do."""
