//! The `openclaw-rating` program.

fn main() {}
