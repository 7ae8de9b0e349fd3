//! The mappings that farebox brings along, compiled from the files of `dictionaries/mappings`.

use std::sync::OnceLock;

use crate::diagnostic::document::Node;
use crate::diameter::Dictionary;

use super::Interface;
use super::Mapping;

/// Name, interface and text of the built-in mappings.
pub const BUILTIN: [(&str, Interface, &str); 2] = [
    ("oma-cpm/ch1", Interface::Ch1, include_str!("../../dictionaries/mappings/ch1.yaml")),
    ("oma-cpm/ch2", Interface::Ch2, include_str!("../../dictionaries/mappings/ch2.yaml")),
];

/// The overlay that the quirk `strip_plus_from_e164` puts behind the built-in mapping.
pub const STRIP_PLUS_FROM_E164: &str = "lets: {strip_plus_from_e164: \"${true}\"}\n";

/// Text of a built-in mapping, by the name that stands behind `builtin:`.
pub fn builtin_source(name: &str) -> Option<&'static str> {
    BUILTIN.iter().find(|(known, ..)| *known == name).map(|(.., text)| *text)
}

impl Mapping {
    /// A built-in mapping over the built-in dictionaries; `None` if there is none of this name.
    pub fn builtin(name: &str) -> Option<&'static Mapping> {
        static COMPILED: [OnceLock<Mapping>; BUILTIN.len()] = [OnceLock::new(), OnceLock::new()];
        let at = BUILTIN.iter().position(|(known, ..)| *known == name)?;
        Some(COMPILED[at].get_or_init(|| compile(BUILTIN[at])))
    }

    /// The built-in mapping of an interface.
    pub fn default_of(interface: Interface) -> &'static Mapping {
        let name = match interface {
            Interface::Ch1 => "oma-cpm/ch1",
            Interface::Ch2 => "oma-cpm/ch2",
        };
        Mapping::builtin(name).expect("invariant: both interfaces have a built-in mapping")
    }
}

fn compile((name, interface, text): (&str, Interface, &str)) -> Mapping {
    let file = format!("builtin:{name}");
    let node = Node::parse(&file, text).expect("invariant: built-in mappings are valid YAML");
    let (mapping, found) = Mapping::compile(&[(&file, &node)], Dictionary::builtin(), interface);
    mapping.unwrap_or_else(|| panic!("invariant: built-in mappings compile: {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_mappings_compile_without_a_finding() {
        for (name, interface, text) in BUILTIN {
            let node = Node::parse(name, text).expect("YAML");
            let (mapping, found) =
                Mapping::compile(&[(name, &node)], Dictionary::builtin(), interface);
            assert_eq!(found, [], "{name}");
            let mapping = mapping.expect("compiles");
            assert_eq!((mapping.name(), mapping.interface()), (name, interface));
            assert_eq!(mapping.hash(), Mapping::builtin(name).expect("built in").hash());
        }
    }
}
