//! The dictionary: what each AVP and command is. Data only, read from YAML.
//!
//! Four files are built in (`dictionaries/`); operators add their own in the same form. Looking
//! an AVP up is one index into a table for the codes below 8,192 of the first vendors.

use std::sync::OnceLock;

use crate::diagnostic::Diagnostic;

use super::avp::{AvpFlags, AvpId, VENDOR_3GPP};
use super::dictionary_file;

/// A data format of RFC 6733, 4.2 to 4.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// OctetString.
    OctetString,
    /// Integer32.
    Integer32,
    /// Integer64.
    Integer64,
    /// Unsigned32.
    Unsigned32,
    /// Unsigned64.
    Unsigned64,
    /// Float32.
    Float32,
    /// Float64.
    Float64,
    /// Grouped.
    Grouped,
    /// Address.
    Address,
    /// Time.
    Time,
    /// UTF8String.
    Utf8String,
    /// DiameterIdentity.
    DiameterIdentity,
    /// DiameterURI.
    DiameterUri,
    /// Enumerated.
    Enumerated,
    /// IPFilterRule.
    IpFilterRule,
}

impl Kind {
    /// Every type with the RFC's name, in the order of the discriminants.
    pub const ALL: [(Kind, &'static str); 15] = [
        (Kind::OctetString, "OctetString"),
        (Kind::Integer32, "Integer32"),
        (Kind::Integer64, "Integer64"),
        (Kind::Unsigned32, "Unsigned32"),
        (Kind::Unsigned64, "Unsigned64"),
        (Kind::Float32, "Float32"),
        (Kind::Float64, "Float64"),
        (Kind::Grouped, "Grouped"),
        (Kind::Address, "Address"),
        (Kind::Time, "Time"),
        (Kind::Utf8String, "UTF8String"),
        (Kind::DiameterIdentity, "DiameterIdentity"),
        (Kind::DiameterUri, "DiameterURI"),
        (Kind::Enumerated, "Enumerated"),
        (Kind::IpFilterRule, "IPFilterRule"),
    ];

    /// The RFC's name.
    pub fn name(self) -> &'static str {
        Kind::ALL[self as usize].1
    }

    /// The type of the RFC's name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// What the AVP's definition says about the M bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MandatoryRule {
    /// M must be set.
    Must,
    /// The sender chooses; farebox sends it clear.
    May,
    /// M must not be set.
    MustNot,
    /// The application decides; farebox sends it clear.
    App,
}

/// What stands where, and how often, in a group or command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which AVP.
    pub id: AvpId,
    /// Least number of instances.
    pub min: u32,
    /// Most instances; `None` is unbounded.
    pub max: Option<u32>,
    /// Its position is the one in the list: `< >`.
    pub fixed: bool,
}

/// An AVP's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct AvpDef {
    /// The name as its document spells it.
    pub name: String,
    /// Code and vendor.
    pub id: AvpId,
    /// Type of the data.
    pub kind: Kind,
    /// Rule for M.
    pub mandatory: MandatoryRule,
    /// Names of values: all of an Enumerated's that are known, for other integers some.
    pub values: Vec<(i32, String)>,
    /// Members of a group, in the document's order.
    pub members: Vec<Member>,
    /// The group may hold other AVPs too: `*[ AVP ]`.
    pub open: bool,
    /// Exactly one of the members that are not required must be there.
    pub exactly_one: bool,
    /// Document and clause.
    pub provenance: String,
    /// Remark of the dictionary, or empty.
    pub doc: String,
    /// Which dictionary defines it.
    pub dictionary: String,
}

impl AvpDef {
    /// The flags to send: V if it has a vendor, M if it must be set.
    pub fn flags(&self) -> AvpFlags {
        match self.mandatory {
            MandatoryRule::Must => AvpFlags::mandatory_for(self.id),
            _ => AvpFlags::optional_for(self.id),
        }
    }

    /// The name of a value.
    pub fn value_name(&self, value: i32) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == value).map(|(_, name)| name.as_str())
    }

    /// The value of a name.
    pub fn value_of(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(_, known)| known == name).map(|(value, _)| *value)
    }

    /// The rule for a member.
    pub fn member(&self, id: AvpId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// A command's definition.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandDef {
    /// The name as its document spells it.
    pub name: String,
    /// `CCR`.
    pub short: String,
    /// Command Code; 0 for the error answer.
    pub code: u32,
    /// Application-Id; `None` for a command of every application.
    pub application: Option<u32>,
    /// R.
    pub request: bool,
    /// P.
    pub proxiable: bool,
    /// The grammar of E-bit answers.
    pub error: bool,
    /// AVPs in the document's order.
    pub members: Vec<Member>,
    /// `*[ AVP ]`.
    pub open: bool,
    /// Document and clause.
    pub provenance: String,
    /// Which dictionary defines it.
    pub dictionary: String,
}

/// Codes below this have a place in a vendor's table.
const TABLE_CODES: usize = 8192;
/// Vendors that get a table; further ones are searched.
const TABLES_MAX: usize = 8;

/// One vendor's low codes.
#[derive(Clone, Debug)]
struct Table {
    vendor: u32,
    /// Type by code, `UNKNOWN` for none.
    kinds: Box<[u8]>,
    /// Position in `avps` by code.
    positions: Box<[u32]>,
}

const UNKNOWN: u8 = u8::MAX;

/// AVPs and commands of the loaded files.
#[derive(Clone, Debug)]
pub struct Dictionary {
    avps: Vec<AvpDef>,
    commands: Vec<CommandDef>,
    error_answer: CommandDef,
    vendors: Vec<(String, u32)>,
    tables: Vec<Table>,
    /// Every id with its position, ascending.
    by_id: Vec<(AvpId, u32)>,
    /// Every name with its position, ascending; equal names in the order of loading.
    by_name: Vec<(String, u32)>,
}

/// The built-in files: name as used in `builtin: […]`, and text.
pub const BUILTIN: [(&str, &str); 4] = [
    ("base", include_str!("../../dictionaries/base.yaml")),
    ("credit-control", include_str!("../../dictionaries/credit-control.yaml")),
    ("tgpp", include_str!("../../dictionaries/tgpp.yaml")),
    ("oma", include_str!("../../dictionaries/oma.yaml")),
];

impl Dictionary {
    /// The four built-in files.
    pub fn builtin() -> &'static Dictionary {
        static BUILTIN_DICTIONARY: OnceLock<Dictionary> = OnceLock::new();
        BUILTIN_DICTIONARY.get_or_init(|| {
            let files = BUILTIN.map(|(name, text)| (format!("builtin:{name}"), text));
            let files: Vec<(&str, &str)> =
                files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
            Dictionary::load(&files).expect("invariant: the built-in dictionaries are valid")
        })
    }

    /// Reads files of (name, text); later ones may override and extend earlier ones.
    ///
    /// # Errors
    /// All problems of all files at once.
    pub fn load(files: &[(&str, &str)]) -> Result<Dictionary, Vec<Diagnostic>> {
        dictionary_file::load(files)
    }

    /// From definitions that fit together.
    pub(super) fn assemble(
        avps: Vec<AvpDef>,
        mut commands: Vec<CommandDef>,
        vendors: Vec<(String, u32)>,
    ) -> Dictionary {
        let position = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut by_id: Vec<_> =
            avps.iter().enumerate().map(|(at, avp)| (avp.id, position(at))).collect();
        by_id.sort_unstable();
        let mut by_name: Vec<_> =
            avps.iter().enumerate().map(|(at, avp)| (avp.name.clone(), position(at))).collect();
        by_name.sort_unstable();
        let mut tables: Vec<Table> = Vec::new();
        for (at, avp) in avps.iter().enumerate() {
            let code = avp.id.code as usize;
            if code >= TABLE_CODES {
                continue;
            }
            let table = match tables.iter_mut().position(|table| table.vendor == avp.id.vendor) {
                Some(known) => known,
                None if tables.len() < TABLES_MAX => {
                    let kinds = vec![UNKNOWN; TABLE_CODES].into_boxed_slice();
                    let positions = vec![u32::MAX; TABLE_CODES].into_boxed_slice();
                    tables.push(Table { vendor: avp.id.vendor, kinds, positions });
                    tables.len() - 1
                }
                None => continue,
            };
            tables[table].kinds[code] = avp.kind as u8;
            tables[table].positions[code] = position(at);
        }
        let error_answer = match commands.iter().position(|command| command.error) {
            Some(at) => commands.remove(at),
            None => bare_error_answer(),
        };
        Dictionary { avps, commands, error_answer, vendors, tables, by_id, by_name }
    }

    /// The type of an AVP; `None` if it is unknown.
    #[inline]
    pub fn kind(&self, id: AvpId) -> Option<Kind> {
        match self.table(id.vendor).and_then(|table| table.kinds.get(id.code as usize)) {
            Some(kind) => Kind::ALL.get(usize::from(*kind)).map(|(kind, _)| *kind),
            None => self.search(id).map(|avp| avp.kind),
        }
    }

    /// The definition of an AVP.
    #[inline]
    pub fn avp(&self, id: AvpId) -> Option<&AvpDef> {
        match self.table(id.vendor).and_then(|table| table.positions.get(id.code as usize)) {
            Some(at) => self.avps.get(*at as usize),
            None => self.search(id),
        }
    }

    #[inline]
    fn table(&self, vendor: u32) -> Option<&Table> {
        self.tables.iter().find(|table| table.vendor == vendor)
    }

    #[cold]
    fn search(&self, id: AvpId) -> Option<&AvpDef> {
        let at = self.by_id.binary_search_by_key(&id, |(known, _)| *known).ok()?;
        self.avps.get(self.by_id[at].1 as usize)
    }

    /// An AVP by name, or by vendor and name: `3GPP:Reporting-Reason`. Names are spelled as in
    /// their document; of equal names without vendor the one loaded first is meant.
    pub fn by_name(&self, name: &str) -> Option<&AvpDef> {
        if let Some(avp) = self.named(name, |_| true) {
            return Some(avp);
        }
        let (vendor, name) = name.split_once(':')?;
        let vendor = self.vendor(vendor)?;
        self.named(name, |avp| avp.id.vendor == vendor)
    }

    fn named(&self, name: &str, fits: impl Fn(&AvpDef) -> bool) -> Option<&AvpDef> {
        let first = self.by_name.partition_point(|(known, _)| known.as_str() < name);
        self.by_name[first..]
            .iter()
            .take_while(|(known, _)| known == name)
            .filter_map(|(_, at)| self.avps.get(*at as usize))
            .find(|avp| fits(avp))
    }

    /// The number of a vendor: by its name in a dictionary, `IETF`, or in digits.
    pub fn vendor(&self, name: &str) -> Option<u32> {
        let known = self.vendors.iter().find(|(known, _)| known == name).map(|(_, id)| *id);
        known.or_else(|| (name == "IETF").then_some(0)).or_else(|| name.parse().ok())
    }

    /// The name of a vendor.
    pub fn vendor_name(&self, id: u32) -> Option<&str> {
        let known = self.vendors.iter().find(|(_, known)| *known == id);
        known.map(|(name, _)| name.as_str()).or(match id {
            0 => Some("IETF"),
            VENDOR_3GPP => Some("3GPP"),
            _ => None,
        })
    }

    /// The definition of a command: the application's own, else the one of every application.
    pub fn command(&self, code: u32, application: u32, request: bool) -> Option<&CommandDef> {
        let fits = |command: &&CommandDef| command.code == code && command.request == request;
        let mut own = self.commands.iter().filter(fits);
        own.find(|command| command.application == Some(application)).or_else(|| {
            self.commands.iter().filter(fits).find(|command| command.application.is_none())
        })
    }

    /// The grammar of answers with E set.
    pub fn error_answer(&self) -> &CommandDef {
        &self.error_answer
    }

    /// Every AVP, in the order of the files.
    pub fn avps(&self) -> impl Iterator<Item = &AvpDef> {
        self.avps.iter()
    }

    /// Every command but the error answer.
    pub fn commands(&self) -> impl Iterator<Item = &CommandDef> {
        self.commands.iter()
    }

    /// Every AVP name, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().map(|(name, _)| name.as_str())
    }
}

/// For dictionaries without one: asks for nothing.
fn bare_error_answer() -> CommandDef {
    CommandDef {
        name: "answer-message".to_owned(),
        short: "answer-message".to_owned(),
        code: 0,
        application: None,
        request: false,
        proxiable: false,
        error: true,
        members: Vec::new(),
        open: true,
        provenance: String::new(),
        dictionary: String::new(),
    }
}
