"""The pages: a list of jobs, a job's progress and result, and the API's documentation."""
