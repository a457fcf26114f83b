"""Lower precision: int8 and bfloat16 weights of exported graphs, and the search for blocks that stay in fp32."""
