"""The chaos kit: breaks a running server on purpose, while clients write, and judges whether it kept its word.

It shares no code with the server it judges: its clients, its codec and its checker are its own. Started by
`collab-server chaos`.
"""
