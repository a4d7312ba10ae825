"""Documents of other people's making to Markdown, in child processes that may come to harm."""
