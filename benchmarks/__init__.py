"""What Greenroom costs, beside what the same work costs at least and elsewhere. See README.md in this folder."""
