"""Traffic on the control side: tables that are set, carried out and told, and who drives them."""
