"""The verbs as a service: HTTP with JSON, one model for many clients."""
