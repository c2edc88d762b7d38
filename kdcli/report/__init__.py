"""What people see of a run: the live display, tables, verdicts, figures and the HTML report.

Importing the package imports nothing else: rich and matplotlib are loaded by the modules that draw with them.
"""
