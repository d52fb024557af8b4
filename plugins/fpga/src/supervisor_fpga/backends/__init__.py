"""The families of drivers: one small file for each, behind the protocol in ``protocol``."""
