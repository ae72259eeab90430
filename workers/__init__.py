"""What runs a job: soups, evaluation and attacks; Ray and Tune; the supervisor."""
