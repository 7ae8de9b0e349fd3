//! Files → typed configuration. The only place where YAML keys become the plain structs of the
//! other modules; every problem of every file is reported at once, with its line.

pub mod settings;
