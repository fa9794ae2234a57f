"What makes, tests and publishes the book; not a part of the library."
