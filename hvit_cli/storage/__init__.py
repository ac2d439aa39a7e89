"""Every file hvit writes or reads, whole or not at all, with its recipe."""
