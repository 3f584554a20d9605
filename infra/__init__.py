"""The infrastructure of Addendum: one noun a file, each a Pulumi component."""
