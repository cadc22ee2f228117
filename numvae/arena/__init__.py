"""Where an estimator is stated, certified and compared: costs, exact truth beside every estimate, and the arena."""
