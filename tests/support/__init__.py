"""What several rooms' tests share: doubles of the operating system that lose what a real one may lose."""
