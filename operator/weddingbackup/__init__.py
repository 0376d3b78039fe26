"""A Kubernetes operator that protects weddings: several verified, encrypted copies, and a way back."""
