"""What happens at a simulated tenant: mornings of email, live traffic, real mail, variants."""
