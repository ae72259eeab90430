"""One attempt at one job: what runs in the disposable child process."""
