"""Object stores: where sealed bytes live, in several clouds."""
