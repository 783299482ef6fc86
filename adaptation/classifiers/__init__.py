"""Domain adaptation of classifiers on public benchmarks."""
