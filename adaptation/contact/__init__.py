"""Mass and sliding friction of a handled object, from recordings of its pushes and lifts."""
