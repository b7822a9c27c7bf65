"""HTTP before WebSocket: the opening handshake of both roles (RFC 6455 §4), without I/O.

It parses the bytes of a request or a response into checked objects, or returns the error and the response that rejects
the request. It does not connect, wait or retry: ``wsframe.asyncio`` and ``wsframe.sync`` do, as this package decides.

``grammar``        tokens, lists, hosts and parameters of header fields (RFC 9110 §5.6)
``fields``         header fields: ``Headers``
``http``           ``Request`` and ``Response``
``custom_fields``  header fields that an application adds, and those that it must not add
``uri``            WebSocket URIs and request targets
``head_reader``    heads of bounded size, parsed by h11
``handshake``      ``ServerHandshake`` and ``ClientHandshake``
``proxy``          tunnels through proxies
``attempts``       how a client handles redirects and failures
``connecting``     what ``connect`` keeps from one attempt to the next
"""
