"""What plugin authors test with: the conformance kit, and a Hugging Face Hub on the loopback interface."""
