"""Decisions, pure: facts and a moment go in, a decision and its reason come out."""
