"""The Postman app's collection and environment, and newman, which runs them without the app."""
