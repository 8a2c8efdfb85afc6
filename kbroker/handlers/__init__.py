"""The request handlers: one module per API family, named like the module in ``wire/messages``.

A handler decodes nothing and stores nothing: it authorises, delegates to the ports it was given,
and builds the response.
"""
