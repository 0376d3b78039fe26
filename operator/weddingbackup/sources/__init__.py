"""What is protected, and how it is put back: volumes and PostgreSQL databases."""
