//! Header and codec: H-01 to H-36.

use farebox::diameter::dictionary::BUILTIN;
use farebox::diameter::{Dictionary, id};

#[test]
fn the_built_in_dictionaries_are_valid() {
    let files = BUILTIN.map(|(name, text)| (name, text));
    if let Err(findings) = Dictionary::load(&files) {
        let shown: Vec<String> = findings
            .iter()
            .map(|f| format!("{} {} {:?}", f.code, f.message, f.span.as_ref().map(|s| s.place())))
            .collect();
        panic!("{}", shown.join("\n"));
    }
    let dictionary = Dictionary::builtin();
    assert_eq!(dictionary.avps().count(), 399);
    for (id, name) in id::ALL {
        assert_eq!(dictionary.avp(*id).map(|avp| avp.name.as_str()), Some(*name));
    }
}
