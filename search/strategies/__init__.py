"""The strategies, one file each: ``KIND`` says its name, its request, its bound and how it starts."""
