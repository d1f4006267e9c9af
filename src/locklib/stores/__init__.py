"""The stores: they keep rows and publish permits, and know no lock rule."""
