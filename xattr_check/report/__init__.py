"""What a person sees of verdicts: the table, Markdown, charts, pictures, the page."""
