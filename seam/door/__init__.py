"""What `import seam` offers: each function takes a network and images as people have them."""
