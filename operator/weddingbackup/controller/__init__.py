"""The operator: watches our kinds and brings the cluster to what they ask for."""
