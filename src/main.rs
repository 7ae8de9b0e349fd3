#![doc = "The farebox command."]

fn main() {}
