"""Every call to the Kubernetes API, and the pure builders of the objects that we create."""
