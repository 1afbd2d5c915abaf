"""Networks: tensors in, tensors out. Each is built from a config that its checkpoint carries."""
