"""What is measured of a model beside its answers: multiply-adds, intervals, the restricted original."""
