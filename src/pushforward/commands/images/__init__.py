"""What the shell's commands do with images: ``fit``, ``score``, ``sample``, ``report``, ``compare`` and ``info``."""
