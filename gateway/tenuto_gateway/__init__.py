"""The front door of Tenuto: the `tenuto` command and the all-in-one development server.

This room composes the others and may import all of them. Nothing of the engine is decided here: the command
line loads an app (`targets`), builds services from settings (`dev`, `ensemble`), keeps them alive until a
signal (`serving`), and puts histories into words (`timeline`).
"""
