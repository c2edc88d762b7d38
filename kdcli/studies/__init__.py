"""Studies: experiments written down in YAML, with what each number should be."""
