"""From a bundle to a better bundle, from a parameter space to a truer one."""
