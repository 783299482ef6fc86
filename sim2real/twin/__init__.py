"""The guided twin of an arm: excite, record, identify, train, judge."""
