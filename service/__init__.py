"""What users meet: HTTP API, page, client, settings, job store and artifact store. Never imports torch or ray."""
