"""The operator's web page: state, answers, server."""
