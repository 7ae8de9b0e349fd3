//! Every code a person can meet, in one table: number, whose fault, may it be resent, title.
//!
//! A new code needs a row here, a page (the `explain` column) and a test that produces it.

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Whoever wrote the configuration, mapping or dictionary.
    Config,
    /// Whoever sent the trigger or typed the command.
    Caller,
    /// The Diameter peer.
    Peer,
    /// The machine: disk, port, descriptors.
    Environment,
    /// farebox itself: a bug.
    Farebox,
}

macro_rules! codes {
    ($($name:ident $fault:ident $title:literal $explain:literal;)*) => {
        /// A stable diagnostic code.
        #[allow(missing_docs)] // The table is the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($name),* }

        /// All codes in order.
        pub const ALL: &[Code] = &[$(Code::$name),*];

        impl Code {
            /// `FB0107`.
            pub fn name(self) -> &'static str {
                match self { $(Code::$name => stringify!($name)),* }
            }

            /// Who has to act.
            pub fn fault(self) -> Fault {
                match self { $(Code::$name => Fault::$fault),* }
            }

            /// One line: what the code means.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }

            /// The page of `farebox explain`.
            pub fn explain(self) -> &'static str {
                match self { $(Code::$name => $explain),* }
            }
        }
    };
}

codes! {
    // 00xx: files.
    FB0001 Config "not valid YAML" "The file cannot be read as YAML 1.2. The caret shows where the reader stopped. Typical causes: a tab used for indentation, an unclosed quote, the same key twice.";
    FB0002 Config "file cannot be read" "The file is missing, is a folder, is too large, or may not be read by this user.";
    FB0003 Config "environment variable is not set" "`${NAME}` needs the variable; `${NAME:-default}` has a default.";
    // 01xx: dictionaries and mappings.
    FB0101 Config "unknown key" "The key is not one of this file's keys. Compare the spelling with the suggestion.";
    FB0102 Config "wrong type or value" "The value does not have the type, unit or range that the key needs.";
    FB0103 Config "required key is missing" "Add the key that the message names.";
    FB0104 Config "AVP is defined twice" "Two dictionaries define the same (vendor, code) or name differently. Use `override:` where the difference is meant.";
    FB0105 Config "unknown AVP type" "The type must be one of RFC 6733, 4.2 to 4.4.";
    FB0106 Config "group refers to an AVP that no dictionary defines" "Define the AVP, or correct the name.";
    FB0107 Config "unknown AVP" "No dictionary has an AVP of this name. For an AVP the dictionary does not know use `raw:` with code:vendor.";
    FB0108 Config "unknown enum name" "The AVP is Enumerated and has no value of this name. Numbers are accepted too.";
    FB0109 Caller "required value is missing" "The message needs an AVP whose value the trigger does not give. Nothing was stored and nothing was sent.";
    FB0110 Config "reserved AVP" "The protocol machines set this AVP; a mapping cannot.";
    FB0111 Config "expression cannot be read" "The text inside `${…}` does not follow the grammar: paths, filters after `|`, `==`, `!=`, `<`, `>`, `?:`, `??`.";
    FB0112 Config "AVP is not a member of the group" "The dictionary's group does not list this AVP. Use `extend:` in a dictionary of your own to add it.";
    FB0113 Config "value does not fit the AVP" "The value cannot be put into the AVP's type: a text into a number, a number out of range.";
    FB0114 Config "group contains itself" "Following the members of the group leads back to it; no message could be built. Remove the member.";
    // 02xx: configuration.
    FB0201 Config "duplicate name" "The name is used twice.";
    FB0202 Config "interface has no route" "A service uses an interface for which there is no route; its records could never be sent.";
    FB0203 Config "peer is not defined" "A route names a peer that `peers:` does not have.";
    FB0204 Config "timer below its legal minimum" "RFC 3539, 3.4.1 does not allow a watchdog below 6 s.";
    FB0205 Config "unsafe listener" "An API on an address that is not loopback needs TLS or tokens; write them, or keep it on loopback.";
    FB0206 Config "not supported by this build" "The key is reserved, or the feature is not compiled in.";
    FB0207 Config "bad address" "An address is `host:port`; a listener is `ip:port`.";
    FB0208 Config "profile is not defined" "A peer names a profile that `profiles:` does not have.";
    FB0209 Config "certificate or key cannot be used" "The PEM text is not what the key needs, or the private key is another certificate's.";
    // 03xx: mapping warnings.
    FB0311 Config "expression type differs from the AVP type" "The expression yields a value of another type than the AVP; it may fail at run time.";
    // 04xx: configuration warnings.
    FB0410 Config "peer identity is not pinned" "`address` is an IP address and `host` is not given, so any Origin-Host is accepted. Write `host:`.";
    FB0411 Config "peers of one route differ" "The peers of one route differ in profile, overlay or quirks that change the message; a copy keeps the mapping of the first usable peer.";
    FB0412 Config "certificate ends soon" "Less than 14 days are left, or none. Replace the file and reload: connections that exist go on, new ones use it.";
    FB0413 Config "certificate does not name this host" "A peer compares the dNSName of our certificate with our Origin-Host, and refuses another name.";
    FB0414 Config "key has no effect" "Another key would be needed for this one to matter; the message names it.";
    FB0420 Config "accounting application advertised as `auth: 3`" "Rf is `acct: 3`; strict peers answer 5010 NO_COMMON_APPLICATION.";
    FB0421 Config "text looks like a boolean" "YAML 1.2 knows only true and false; yes, no, on and off are text.";
    // 10xx: API.
    FB1001 Caller "the trigger is not valid" "One or more fields need attention; every one is listed with a pointer. Nothing was stored and nothing was sent.";
    FB1002 Caller "malformed JSON" "The body cannot be read as JSON.";
    FB1003 Caller "Idempotency-Key is missing" "The configuration requires the header `Idempotency-Key` on every POST.";
    FB1004 Caller "unknown session" "No session of this id was started here, or its retention has passed.";
    FB1005 Caller "unknown record" "No record of this id is in the store.";
    FB1006 Caller "not found" "No such resource.";
    FB1007 Caller "method not allowed" "The resource exists; the header `Allow` lists its methods.";
    FB1008 Caller "sequence out of order" "The sequence is lower than the last one of this session.";
    FB1009 Caller "session ended" "The session is ending or ended: nothing but a repeated terminate is accepted.";
    FB1010 Caller "request in progress" "The first copy of this request has not been answered yet. Try again after `Retry-After`.";
    FB1011 Caller "body too large" "The body, or the line of a batch, exceeds `api.limits.max_body`.";
    FB1012 Caller "unsupported media type" "The resource takes `application/json`.";
    FB1013 Config "the trigger cannot be mapped" "The mapping cannot build the message; the error names file, line and field. Nothing was stored and nothing was sent.";
    FB1014 Caller "Idempotency-Key reused" "The key was used with another path or body.";
    FB1015 Caller "usage decreased" "`usage` is cumulative since the session began; a total cannot go backwards.";
    FB1016 Caller "rate limited" "More requests than `api.limits.rate`.";
    FB1017 Caller "unauthenticated" "A bearer token is required.";
    FB1018 Caller "forbidden" "The token's scopes do not allow this call.";
    FB1019 Caller "denied" "The debit was denied and the request asked for that as a problem (`Prefer: denied=402`). The members of the answer stand beside those of the problem.";
    FB1020 Caller "body not received in time" "The body has to arrive within 10 seconds of its headers.";
    FB1500 Farebox "internal error" "A bug in farebox; nothing is half done. Please report it with the request id.";
    FB1503 Environment "store unavailable" "The store could not write or sync. Use another instance; see the log event `store.failed`.";
    FB1504 Caller "draining" "This instance is about to stop. Use another one.";
    FB1505 Caller "overloaded" "A bounded queue is full. Try again after `Retry-After`, or use another instance.";
    FB1507 Environment "spool full" "The disk or `store.max_size` is full; old records are never dropped. Page someone.";
    // 20xx: process.
    FB2001 Environment "port is in use" "Another process listens there; the message names it.";
    FB2002 Environment "store is held by another process" "Only one process may open a store; the message names its pid.";
    FB2003 Environment "store cannot be opened" "The folder cannot be created, read or written, or the format is not one this version reads.";
    FB2004 Caller "input cannot be decoded" "The bytes are not a Diameter message; the message says at which offset.";
    FB2005 Environment "service cannot be reached" "Nothing answers at the address.";
    // 30xx: peers.
    FB3001 Config "no common application" "The peer's CEA shares no application with our CER: correct `applications:` of the peer.";
    FB3002 Config "peer identity differs" "The CEA's Origin-Host is not the configured `host`.";
    FB3003 Peer "peer refused the capabilities exchange" "The CEA carries an error; the peer has to accept us.";
    FB3004 Peer "peer cannot be reached" "The connection is refused, reset or times out; the next attempt is shown.";
    FB3005 Peer "peer sent bytes that are not Diameter" "The connection was closed; the reason is in the log event.";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
