"""What the JSON objects that the server sends look like, field by field.

They are dictionaries at run time and cost nothing there. The API's description is made of them; the tests hold every
answer against it.
"""
