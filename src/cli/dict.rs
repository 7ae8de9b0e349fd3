//! `farebox dict`: what the dictionaries say about an AVP.

use super::args::DictShow;
use super::exit::{Exit, Failure, Outcome};
use super::terminal::{BOLD, RESET, Terminal};
use crate::diagnostic::suggest;
use crate::diameter::{AvpDef, AvpId, Dictionary, MandatoryRule, Member};

/// Groups above a group that are followed; no dictionary nests deeper.
const CHAIN_MAX: usize = 8;
/// Matches of a part of a name that are listed.
const MATCHES_MAX: usize = 40;

/// Prints one AVP in full, or the list of those that match.
pub(crate) fn show(args: &DictShow, terminal: &mut Terminal) -> Outcome {
    let dictionary = Dictionary::builtin();
    let found = find(&args.avp, dictionary);
    match found.as_slice() {
        [] => Err(unknown(&args.avp, dictionary)),
        [one] => {
            page(one, dictionary, terminal);
            Ok(Exit::Ok)
        }
        many => {
            for avp in many.iter().take(MATCHES_MAX) {
                terminal.line(heading(avp, dictionary));
            }
            if many.len() > MATCHES_MAX {
                terminal.note(format!("{} more", many.len() - MATCHES_MAX));
            }
            Ok(Exit::Ok)
        }
    }
}

/// By code, code:vendor, name, vendor:name; else every AVP with the text in its name.
fn find<'d>(wanted: &str, dictionary: &'d Dictionary) -> Vec<&'d AvpDef> {
    if let Ok(code) = wanted.parse::<u32>() {
        return dictionary.avps().filter(|avp| avp.id.code == code).collect();
    }
    if let Some(avp) = dictionary.by_name(wanted) {
        return vec![avp];
    }
    let code_vendor = wanted.split_once(':').and_then(|(code, vendor)| {
        Some(AvpId { code: code.parse().ok()?, vendor: dictionary.vendor(vendor)? })
    });
    if let Some(id) = code_vendor {
        return dictionary.avp(id).into_iter().collect();
    }
    let lower = wanted.to_lowercase();
    let mut found: Vec<&AvpDef> =
        dictionary.avps().filter(|avp| avp.name.to_lowercase().contains(&lower)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    match found.iter().find(|avp| avp.name.to_lowercase() == lower) {
        Some(exact) => vec![exact],
        None => found,
    }
}

fn unknown(wanted: &str, dictionary: &Dictionary) -> Failure {
    let failure = Failure::new(Exit::Failed, format!("no dictionary has an AVP `{wanted}`"));
    match suggest(wanted, dictionary.names()) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure.help("a code, code:vendor, a name, or a part of a name"),
    }
}

fn heading(avp: &AvpDef, dictionary: &Dictionary) -> String {
    let vendor = dictionary.vendor_name(avp.id.vendor).unwrap_or("vendor");
    let m = match avp.mandatory {
        MandatoryRule::Must => "M",
        MandatoryRule::May | MandatoryRule::MustNot | MandatoryRule::App => "",
    };
    let v = if avp.id.vendor == 0 { "" } else { "V" };
    let flags = match format!("{v}{m}") {
        none if none.is_empty() => "–".to_owned(),
        flags => flags,
    };
    format!(
        "{BOLD}{}{RESET}   {}   {vendor} ({})   {}   flags {flags}",
        avp.name,
        avp.id.code,
        avp.id.vendor,
        avp.kind.name(),
    )
}

fn page(avp: &AvpDef, dictionary: &Dictionary, terminal: &mut Terminal) {
    terminal.line(heading(avp, dictionary));
    if !avp.values.is_empty() {
        let values: Vec<String> =
            avp.values.iter().map(|(value, name)| format!("{name} {value}")).collect();
        terminal.line(format!("  values    {}", values.join(" · ")));
    }
    for (index, member) in avp.members.iter().enumerate() {
        let label = if index == 0 { "contains" } else { "" };
        terminal.line(format!("  {label:8}  {}", occurrence(member, dictionary)));
    }
    if avp.open {
        terminal.line("            * [ AVP ]");
    }
    for (index, chain) in inside(avp.id, dictionary).iter().enumerate() {
        let label = if index == 0 { "inside" } else { "" };
        terminal.line(format!("  {label:8}  {chain}"));
    }
    if !avp.doc.is_empty() {
        terminal.line(format!("  note      {}", avp.doc));
    }
    terminal.line(format!("  source    builtin {} · {}", avp.dictionary, avp.provenance));
}

/// A member in the RFC's notation: `{ required }`, `[ optional ]`, `< fixed >`, `*` for many.
fn occurrence(member: &Member, dictionary: &Dictionary) -> String {
    let name = match dictionary.avp(member.id) {
        Some(avp) => avp.name.clone(),
        None => member.id.to_string(),
    };
    let star = match (member.min, member.max) {
        (_, Some(1)) => String::new(),
        (0, None) => "*".to_owned(),
        (min, None) => format!("{min}*"),
        (min, Some(max)) => format!("{min}*{max}"),
    };
    let (left, right) = match (member.fixed, member.min) {
        (true, _) => ("<", ">"),
        (false, 0) => ("[", "]"),
        (false, _) => ("{", "}"),
    };
    format!("{star}{left} {name} {right}")
}

/// One line for each group or command that holds the AVP, up to the commands.
fn inside(id: AvpId, dictionary: &Dictionary) -> Vec<String> {
    let has = |members: &[Member], id: AvpId| members.iter().any(|member| member.id == id);
    let commands = |id: AvpId| -> Vec<&str> {
        let with = dictionary.commands().filter(|command| has(&command.members, id));
        with.map(|command| command.short.as_str()).collect()
    };
    let mut chains = Vec::new();
    let direct = commands(id);
    if !direct.is_empty() {
        chains.push(direct.join(", "));
    }
    for parent in dictionary.avps().filter(|avp| has(&avp.members, id)) {
        let mut chain = Vec::new();
        let mut seen = vec![id];
        let mut at = Some(parent);
        while let Some(group) = at.filter(|group| !seen.contains(&group.id)) {
            chain.push(format!("{} ({})", group.name, group.id.code));
            seen.push(group.id);
            let above = commands(group.id);
            if !above.is_empty() {
                chain.push(above.join(", "));
                break;
            }
            if chain.len() >= CHAIN_MAX {
                break;
            }
            at = dictionary.avps().find(|avp| has(&avp.members, group.id));
        }
        chains.push(chain.join(" < "));
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(wanted: &str) -> Vec<&'static str> {
        find(wanted, Dictionary::builtin()).iter().map(|avp| avp.name.as_str()).collect()
    }

    #[test]
    fn an_avp_is_found_by_all_its_names() {
        for wanted in [
            "2102",
            "2102:10415",
            "2102:3GPP",
            "Application-Service-Type",
            "3GPP:Application-Service-Type",
            "application-service-type",
        ] {
            assert_eq!(names(wanted), ["Application-Service-Type"], "{wanted}");
        }
        assert!(names("service-type").contains(&"Application-Service-Type"));
        assert_eq!(names("no such thing"), Vec::<&str>::new());
    }

    #[test]
    fn the_way_up_ends_at_a_command() {
        let dictionary = Dictionary::builtin();
        let avp = dictionary.by_name("Application-Service-Type").expect("known");
        let chains = inside(avp.id, dictionary).join("\n");
        let expected = "Service-Generic-Information (1256) < Service-Information (873) < ";
        assert!(chains.starts_with(expected) && chains.contains("CCR"), "{chains}");
    }
}
