"""Shallow domain adaptation: labelled source features and unlabelled target features in, target labels out.

One method a file, over the pure functions of `features` and the classifiers of `classify`.
"""
