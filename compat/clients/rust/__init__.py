"""The driver of the Rust client."""
