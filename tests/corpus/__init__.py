"""Bytes that have hurt servers like this one, as a regression corpus, and the document some of them were made for."""
