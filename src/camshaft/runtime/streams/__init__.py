"""Calls that are not waited for: streams, pools of contexts, requests that are joined."""
