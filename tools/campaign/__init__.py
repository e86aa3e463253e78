"""Long runs whose results are promises: started by hand, recorded in SPECIFICATION.md."""
