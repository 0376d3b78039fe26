"""The operator in a real cluster, with real stores, and faults at the worst moments."""
