"""What the watchdog shows over HTTP: reads the ledger, asks the supervisor, measures nothing itself."""
