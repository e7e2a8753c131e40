"""What a person sees: reads, never trains."""
