"""Who somebody is, and what they may do: tokens, signing keys, identities, roles and grants.

A leaf: it knows nothing of documents' content, of rooms or of the server, and imports none of them. Called by the
server's admission and by the facade; only an assembly chooses between the adapters.
"""
