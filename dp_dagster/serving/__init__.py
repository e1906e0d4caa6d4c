"""The shell around served ports: who asks, what they see, which version, how much; and ``dp serve``, which runs it."""
