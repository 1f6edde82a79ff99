"""Who is where: awareness of one room, the people in it, verified identities. A leaf: knows no other package."""
