"""Kinds of sources: each reads one form that face data sets come in, member by member."""
