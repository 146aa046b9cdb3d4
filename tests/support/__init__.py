"""What several rooms of tests share: worlds, fakes and real servers."""
