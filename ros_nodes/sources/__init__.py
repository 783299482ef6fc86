"""Sources of commands beside the policy node, each behind the safety gate."""
