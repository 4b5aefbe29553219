"""The report of an engine as one HTML page that needs nothing else: `page_of` makes its data, `page_html` its text."""
