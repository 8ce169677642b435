"""The methods: the papers and the controls, one file each; `seam.methods.catalogue` lists them."""
