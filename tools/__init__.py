"""Development tools: host set-up, guest assets, the demo. Not part of the installed package."""
