"""What a person types: the command line, `soupsearch serve`, and the HTTP client behind them."""
