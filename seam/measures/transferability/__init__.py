"""How well a trained network would do on other images once it is fine-tuned: estimates, before anything is trained."""
