"""Events at a simulated tenant: mornings of email, live traffic, real mail; and profiles of differing tenants."""
