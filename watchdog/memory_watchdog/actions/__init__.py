"""What can be done to a target: one file an action. An action answers with an `Outcome` and never decides."""
